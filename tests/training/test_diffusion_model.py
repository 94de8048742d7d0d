import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd.conditions import Conditions
from tests.builders import PROCESSES, batches, numpy, small_model, tiny_model, tokens
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser


@pytest.mark.parametrize("kind", ["numpy", "tf.data", "PyDataset", "DataLoader", "Grain"])
def test_fit_takes_any_input_and_learns(kind):
    model = small_model()
    model.compile(keras.optimizers.Adam(1e-2))
    x = tokens(512)
    before = model.evaluate(x, verbose=0, return_dict=True)["loss"]  # of the same noise each time
    history = model.fit(batches(kind, x, 64), batch_size=64, epochs=30, verbose=0).history
    assert model.evaluate(x, verbose=0, return_dict=True)["loss"] < 0.95 * before
    assert "bits_per_dim" not in history


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_evaluate_is_the_entropy_for_the_exact_denoiser(process):
    support, probabilities = toy.random_modes(1)
    model = kd.DiffusionModel(ExactDenoiser(support, probabilities, process), process, length=5)
    model.compile()
    x = toy.samples(support, probabilities, 20_000, 0)
    bits = model.evaluate(x, batch_size=5_000, verbose=0, return_dict=True)["bits_per_dim"]
    entropy = -np.sum(probabilities * np.log2(probabilities)) / support.shape[1]
    # 20,000 draws of x, t and z_t: a standard error of about 0.005 bits.
    assert abs(bits - entropy) < 0.025


def test_evaluate_repeats_and_predict_is_per_example():
    model = tiny_model()
    model.compile()
    x = tokens(32)
    assert model.evaluate(x, verbose=0) == model.evaluate(x, verbose=0)
    nelbo = model.predict(x, verbose=0)
    assert nelbo.shape == (32,)
    assert np.isfinite(nelbo).all()


def test_validation_reports_bits_per_dim():
    model = tiny_model()
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(tokens(), epochs=2, validation_data=tokens(32, 1), verbose=0).history
    ratio = np.array(history["val_bits_per_dim"]) / np.array(history["val_loss"])
    np.testing.assert_allclose(ratio, 1 / np.log(2), rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((4, 5), 3), "ids from 0 to 2"),
        (np.full((4, 5), -1), "ids from 0 to 2"),
        (np.full((4, 5), np.nan), "ids from 0 to 2"),
        (np.full((4, 5), 0.5), "must be integers"),
    ],
)
def test_tokens_outside_the_vocabulary_are_refused(x, message):
    model = tiny_model()
    model.compile()
    before = model.get_weights()
    good = tokens(4)
    for attempt in (
        lambda: model.fit(x, verbose=0),
        lambda: model.fit({"tokens": x}, verbose=0),
        lambda: model.fit(x=good, validation_data=x, verbose=0),
        lambda: model.fit(good, validation_data=(x, None), verbose=0),
        lambda: model.evaluate(x, verbose=0),
        lambda: model.predict(x, verbose=0),
    ):
        with pytest.raises(ValueError, match=message):
            attempt()
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_labels_for_a_network_without_classes_are_refused():
    with pytest.raises(ValueError, match="takes no `labels`"):
        tiny_model().generate(2, steps=1, labels=1, jit_compile=False)


def test_a_length_that_is_not_known_is_refused():
    inputs = keras.KerasTensor((None, None), dtype="int32")
    with pytest.raises(ValueError, match="pad them to one length"):
        Conditions.from_inputs(inputs)


def test_sample_weights_may_be_a_column():
    model = tiny_model()
    model.compile()
    x, weights = tokens(32), np.linspace(0, 1, 32)
    row = model.evaluate(x, sample_weight=weights, verbose=0)
    np.testing.assert_allclose(model.evaluate(x, sample_weight=weights[:, None], verbose=0), row)


def test_sample_weights_count():
    model = tiny_model()
    model.compile()
    x = tokens(32)
    full = model.evaluate(x, sample_weight=np.ones(32), verbose=0, return_dict=True)
    half = model.evaluate(x, sample_weight=np.full(32, 0.5), verbose=0, return_dict=True)
    np.testing.assert_allclose(half["loss"], full["loss"] / 2, rtol=1e-5)
    # A metric is a weighted mean: weights of 0 leave examples out.
    np.testing.assert_allclose(half["bits_per_dim"], full["bits_per_dim"], rtol=1e-5)
    some = np.arange(32) < 8
    chosen = model.evaluate(x, sample_weight=some.astype("float32"), verbose=0, return_dict=True)
    nelbo = model.predict(x, verbose=0)
    np.testing.assert_allclose(chosen["bits_per_dim"], nelbo[some].mean() / 5 / np.log(2), rtol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_every_policy_trains(policy):
    model = small_model(dtype=policy)
    model.compile(keras.optimizers.Adam(3e-3))
    x = tokens(512)

    def bits():
        return model.evaluate(x, corruptions=4, verbose=0, return_dict=True)["bits_per_dim"]

    before = bits()
    model.fit(x, epochs=10, verbose=0)
    assert bits() < before - 0.05  # of the same noise
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_ema_ends_in_the_weights_and_fit_can_go_on():
    model = tiny_model()
    model.compile(keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9))
    model.fit(tokens(), verbose=0)
    average = model.optimizer._model_variables_moving_average[-1]
    weight = model.trainable_variables[-1]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(weight), keras.ops.convert_to_numpy(average), rtol=1e-6
    )
    model.fit(tokens(), verbose=0)  # on JAX, a shared buffer would be donated twice


def test_save_and_load_compiled(tmp_path):
    model = tiny_model()
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(tokens(), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.generate(8, steps=4, seed=1) == model.generate(8, steps=4, seed=1)).all()
    assert loaded.evaluate(tokens(), verbose=0) == model.evaluate(tokens(), verbose=0)
    for one in (model, loaded):
        one.fit(tokens(), shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_labels_condition_training_and_sampling():
    model = tiny_model(num_classes=2)
    model.compile(keras.optimizers.Adam(1e-2))
    labels = np.tile([0, 1], 256)
    x = np.repeat(labels[:, None], 5, axis=1).astype("int32")  # class 0 is all 0, class 1 all 1
    model.fit({"tokens": x, "labels": labels}, epochs=12, batch_size=32, verbose=0)
    assert model.generate(50, steps=5, labels=0).mean() < 0.15
    assert model.generate(50, steps=5, labels=1).mean() > 0.85


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kd.DiffusionModel(lambda z, t: z, kd.MaskedDiffusion(3)), "`denoiser` must be"),
        (lambda: kd.DiffusionModel(kd.Denoiser(3), "masked"), "`process` must be"),
        (lambda: kd.DiffusionModel(kd.Denoiser(4), kd.MaskedDiffusion(3)), "predicts 4"),
        (lambda: tiny_model().compile(loss="mse"), "takes no `loss`"),
        (lambda: tiny_model().compile(metrics=["mse"]), "takes no `metrics`"),
        (lambda: tiny_model().predict(np.zeros((2, 2, 2)), verbose=0), "flatten images"),
        (lambda: tiny_model().generate(0), "`n` must be"),
        (lambda: tiny_model().generate(2, steps=0), "`steps` must be"),
        (lambda: tiny_model().generate(2, temperature=-0.1), "`temperature` must be"),
        (lambda: tiny_model().generate(2, top_p=1.5), "`top_p` must be"),
        (lambda: tiny_model(num_classes=4).generate(2, labels=[1, 2, 3]), "`labels` must be"),
        (lambda: tiny_model().copy(noise="loud"), "`noise` must be"),
    ],
)
def test_errors_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_auto_compilation_stays_auto_in_files(tmp_path):
    """What it means is for the backend to say that reads the file."""
    model = tiny_model()
    model.compile()
    distiller = kd.DMMDDistiller(model, steps=2)
    distiller.compile()
    for each in (model, distiller):
        assert each.get_compile_config()["jit_compile"] == "auto"
    model.compile(jit_compile=False)
    model.save(tmp_path / "model.keras")
    assert not keras.saving.load_model(tmp_path / "model.keras").jit_compile


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras exports less from Torch")
def test_a_network_alone_is_exported(tmp_path):
    """The recipe of docs/networks.md."""
    tf = pytest.importorskip("tensorflow")
    teacher = tiny_model()
    z_t = keras.Input((5,), dtype="int32")
    t = keras.Input(())
    network = keras.Model([z_t, t], teacher.denoiser(z_t, t))
    network.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    ids, times = tokens(3).astype("int32"), np.array([0.1, 0.5, 1.0], "float32")
    expected = numpy(teacher.logits(ids, times))
    np.testing.assert_allclose(loaded.serve([ids, times]).numpy(), expected, atol=1e-5)


def test_steps_of_an_evaluation_go_through_all_rows(monkeypatch):
    seen, model = [], tiny_model()
    model.compile(run_eagerly=True)
    monkeypatch.setattr(model, "measure_bits", lambda nats, *_: seen.append(len(nats)))
    for corruptions in (1, 4):
        model.evaluate(tokens(50), steps=5, corruptions=corruptions, verbose=0)
    assert seen == [10] * 5 + [40] * 5


def test_corruptions_of_an_evaluation_are_its_own():
    """Their number is a constant of the compiled step: a batch tested later has one again."""
    model = tiny_model()
    model.compile()
    x, weights = tokens(8), np.linspace(0.5, 2.0, 8)
    options = {"sample_weight": weights, "return_dict": True}
    first = model.test_on_batch(x, **options)
    model.evaluate(x, corruptions=4, sample_weight=weights, verbose=0)
    assert model.test_on_batch(x, **options) == first
