"""A batch that is cut into parts trains as the whole does: the same draws, updates and logs."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from benchmarks import parts
from keras_dmmd.training.micro_batches import number_of_parts
from tests.builders import QUICKLY, distiller, numpy, randomise, small_model, tiny_model, tokens


def trained(model, micro_batches, rows=6, **options):
    """Weights and logs after an epoch in batches of six."""
    model.compile(micro_batches=micro_batches, **options)
    x = {"tokens": tokens(rows), "known": np.arange(5) < np.arange(rows)[:, None] % 3}
    weights = 1.0 + np.arange(float(rows))
    history = model.fit(x, sample_weight=weights, batch_size=6, shuffle=False, verbose=0).history
    return [numpy(v) for v in model.trainable_variables], history


def assert_same(found, wanted, logs):
    for own, weight in zip(found[0], wanted[0], strict=True):
        np.testing.assert_allclose(own, weight, rtol=1e-4, atol=1e-5)
    for name in logs:
        np.testing.assert_allclose(found[1][name], wanted[1][name], rtol=1e-4)


def sgd():
    return keras.optimizers.SGD(0.1, global_clipnorm=1.0)


def test_a_teacher():
    found = [trained(tiny_model(prompts=True), parts, optimizer=sgd(), **QUICKLY) for parts in (2, 1)]
    assert_same(*found, ["loss"])
    start = [numpy(v) for v in tiny_model(prompts=True).trainable_variables]
    assert max(np.abs(a - b).max() for a, b in zip(found[0][0], start, strict=True)) > 1e-2


def test_a_distiller():
    def run(parts):
        made = distiller(kd.UniformDiffusion(3), seed=3, critic_steps=2)
        for model in (made.student, made.critic):
            randomise(model)
        return trained(made, parts, student_optimizer=sgd(), critic_optimizer=sgd(), **QUICKLY)

    # Statistics are means over parts.
    logs = ["student_loss", "critic_loss", "student_grad_norm", "critic_grad_norm"]
    assert_same(run(3), run(1), logs)


@pytest.mark.long_compilation
def test_compiled_with_dropout_and_a_smaller_last_batch():
    """The state of a dropout goes from part to part; a last batch of another size is cut anew."""
    model = randomise(small_model(dropout=0.5))
    others = [*model.weights, model.seed_generator.state, model.evaluation_seed.state]
    seeds = [v for v in model.variables if not any(v is other for other in others)]
    assert seeds  # of its dropout
    before = [numpy(v) for v in seeds]
    _, history = trained(model, 2, rows=8, jit_compile=keras.backend.backend() != "torch")
    assert np.isfinite(history["loss"]).all()
    assert all((numpy(v) != old).any() for v, old in zip(seeds, before, strict=True))


def test_the_number_of_parts():
    assert [number_of_parts(rows, 4) for rows in (1, 3, 4, 6, 7, 8, 10, 12)] == [1, 3, 4, 6, 7, 4, 5, 4]
    for rows in (3, 6, 10, 12):
        assert int(number_of_parts(keras.ops.convert_to_tensor(rows), 4)) == number_of_parts(rows, 4)


@pytest.mark.parametrize("least, number", [(2, 2), (3, 4), (8, 4)])
def test_parts_have_rows_for_every_device(least, number):
    """Of 32 rows on 8 devices, which are cut into four parts at the most."""
    assert number_of_parts(32, least, devices=8) == number
    assert number_of_parts(7, 3, devices=8) == 7  # which no device divides


def test_it_is_kept_and_checked(tmp_path):
    for model in (tiny_model(), distiller()):
        model.compile(micro_batches=4)
        model.save(tmp_path / "model.keras")
        assert keras.models.load_model(tmp_path / "model.keras").micro_batches == 4
        with pytest.raises(ValueError, match="`micro_batches` must be"):
            model.compile(micro_batches=0)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="asks XLA what it plans")
def test_parts_take_less_memory():
    def bytes_of(n):
        model = small_model(hidden_dim=64)
        model.compile(micro_batches=n)
        model.optimizer.build(model.trainable_variables)
        return parts.temporaries(parts.lower_train(model, tokens(256)))

    assert bytes_of(8) < bytes_of(1) / 3
