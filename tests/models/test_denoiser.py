import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd.models.positions import rotary_angles, rotate
from tests.builders import SMALL, K, randomise


def denoiser(random=True, **kwargs):
    layer = kd.Denoiser(K, **{**SMALL, **kwargs})
    return randomise(layer) if random else layer


def logits(layer, z, t=0.5, **kwargs):
    z = np.atleast_2d(z)
    t = np.full(len(z), t, "float32") if np.ndim(t) == 0 else np.array(t, "float32")
    return ops.convert_to_numpy(layer(z, t, **kwargs))


def ids(*shape, seed=0):
    # One shape nearly everywhere: JAX compiles every operation anew for each.
    return np.random.default_rng(seed).integers(K + 1, size=shape or (2, 6))


def assert_differ(first, second, atol=1e-3):
    assert np.abs(first - second).max() > atol


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_under_every_policy(policy):
    layer = denoiser(dtype=policy, num_classes=3, noise="gaussian")
    noise = layer.sample_noise(2, 6, seed=1)
    result = layer(ids(), np.array([0.1, 0.9], "float32"), labels=np.array([0, 2]), noise=noise)
    assert keras.backend.standardize_dtype(result.dtype) == "float32" and result.shape == (2, 6, K)
    assert np.isfinite(ops.convert_to_numpy(result)).all()
    assert {keras.backend.standardize_dtype(w.dtype) for w in layer.weights} == {"float32"}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_close_times_stay_apart_under_every_policy(policy):
    """1/512 is a step of a sampler; bfloat16 cannot tell 0.5 from 0.5 + 1/512."""
    layer = denoiser(dtype=policy)
    assert_differ(logits(layer, ids(), 0.5), logits(layer, ids(), 0.5 + 1 / 512), atol=1e-4)


def test_a_new_denoiser_guesses_uniformly():
    assert (logits(denoiser(random=False), ids()) == 0).all()


@pytest.mark.parametrize("length", [1, 11])
def test_rotary_positions_take_any_length(length):
    assert logits(denoiser(), ids(2, length)).shape == (2, length, K)


def test_learned_positions_take_shorter_sequences_but_no_longer_ones():
    layer = denoiser(position="learned", length=6)
    assert logits(layer, ids(2, 4)).shape == (2, 4, K)
    with pytest.raises(ValueError, match="7 tokens"):
        logits(layer, ids(2, 7))


@pytest.mark.parametrize("position", ["rotary", "learned"])
def test_a_grid_takes_its_own_length_alone(position):
    layer = denoiser(position=position, grid=(2, 3))
    assert logits(layer, ids(2, 6)).shape == (2, 6, K)
    with pytest.raises(ValueError, match="5 tokens"):
        logits(layer, ids(2, 5))


def test_the_output_depends_on_time_tokens_and_label():
    layer = denoiser(num_classes=3)
    z = ids()
    base = logits(layer, z, 0.5, labels=np.array([0, 2]))
    assert_differ(base, logits(layer, z, 0.6, labels=np.array([0, 2])))
    assert_differ(base, logits(layer, (z + 1) % (K + 1), 0.5, labels=np.array([0, 2])))
    assert_differ(base, logits(layer, z, 0.5, labels=np.array([1, 2])))
    assert_differ(base, logits(layer, z, 0.5))


def test_no_label_is_one_more_label():
    layer = denoiser(num_classes=3)
    np.testing.assert_allclose(
        logits(layer, ids()), logits(layer, ids(), labels=np.array([3, 3])), atol=1e-6
    )


def test_attention_runs_in_both_directions():
    layer, z = denoiser(), ids()
    for changed, seen in [(5, 0), (0, 5)]:
        other = z.copy()
        other[0, changed] = (z[0, changed] + 1) % (K + 1)
        assert_differ(logits(layer, z)[0, seen], logits(layer, other)[0, seen])


def test_examples_do_not_see_each_other():
    layer, z, other = denoiser(), ids(), ids()
    other[1] = (z[1] + 1) % (K + 1)
    first, second = logits(layer, z, [0.1, 0.5]), logits(layer, other, [0.1, 0.9])
    np.testing.assert_allclose(first[0], second[0], atol=1e-6)
    assert_differ(first[1], second[1])


@pytest.mark.parametrize("arguments", [{}, {"position": "learned", "length": 6}, {"grid": (2, 3)}])
def test_the_order_of_tokens_matters(arguments):
    layer, z, order = denoiser(**arguments), ids(), [2, 0, 3, 1, 5, 4]
    assert_differ(logits(layer, z)[:, order], logits(layer, z[:, order]))


@pytest.mark.parametrize("position", ["rotary", "learned"])
def test_rows_and_columns_matter(position):
    wide = denoiser(position=position, grid=(2, 3))
    z = ids()
    transposed = np.arange(6).reshape(3, 2).T.reshape(-1)
    assert_differ(logits(wide, z)[:, transposed], logits(wide, z[:, transposed]))
    if position == "rotary":
        tall = denoiser(grid=(3, 2))
        tall.set_weights(wide.get_weights())
        assert_differ(logits(wide, z), logits(tall, z))


def test_rotary_attention_depends_on_distance_alone():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 1, 1, 8)).astype("float32")
    rotated = [
        ops.convert_to_numpy(rotate(np.tile(x, (1, 6, 1, 1)), rotary_angles(6, 8)))[0, :, 0]
        for x in (query, key)
    ]
    scores = rotated[0] @ rotated[1].T
    np.testing.assert_allclose(scores[:-1, :-1], scores[1:, 1:], atol=1e-5)
    assert_differ(scores[0, 0], scores[0, 1])


def test_grid_angles_turn_with_row_and_column():
    angles = rotary_angles(6, 8, grid=(2, 3))
    assert angles.shape == (6, 4) and angles.dtype == np.float32
    np.testing.assert_allclose(angles[:, 0], [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(angles[:, 2], [0, 1, 2, 0, 1, 2])


def test_dropout_acts_in_training_alone():
    layer, z = denoiser(dropout=0.5), ids()
    np.testing.assert_array_equal(logits(layer, z), logits(layer, z))
    assert_differ(logits(layer, z), logits(layer, z, training=True))


CONFIGS = [
    {},
    {"position": "learned", "length": 6, "num_classes": 3, "num_states": K},
    {"grid": (2, 3), "noise": "pyramid", "dropout": 0.1, "mlp_dim": 20},
    {"noise": "gaussian", "dtype": "mixed_bfloat16"},
    {"noise": kd.models.TokenNoise(16, symbols=7)},
]


@pytest.mark.parametrize("arguments", CONFIGS)
def test_config_round_trip(arguments):
    layer = denoiser(**arguments)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    again.set_weights(layer.get_weights())
    z, noise = ids(seed=1) % layer.num_states, layer.sample_noise(2, 6, seed=3)
    np.testing.assert_allclose(logits(again, z, noise=noise), logits(layer, z, noise=noise), atol=1e-6)


@pytest.mark.parametrize("arguments", CONFIGS[:3])
def test_weights_are_saved_and_loaded(arguments, tmp_path):
    process = kd.UniformDiffusion(K)
    model = kd.DiffusionModel(denoiser(**arguments), process, length=6)
    model.save_weights(tmp_path / "model.weights.h5")
    other = kd.DiffusionModel(denoiser(random=False, **arguments), process, length=6)
    other.load_weights(tmp_path / "model.weights.h5")
    z = ids() % K
    np.testing.assert_array_equal(logits(other.denoiser, z), logits(model.denoiser, z))


def test_a_whole_model_is_saved_and_loaded(tmp_path):
    model = kd.DiffusionModel(denoiser(grid=(2, 3), noise="pyramid"), kd.MaskedDiffusion(K), length=6)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    noise = model.denoiser.sample_noise(2, 6, seed=1)
    first, second = (logits(m.denoiser, ids(), noise=noise) for m in (model, again))
    np.testing.assert_array_equal(first, second)
    assert again.process.get_config() == model.process.get_config()


@pytest.mark.parametrize("name", ["nano", "tiny", "small", "base"])
def test_sizes_pass_the_checks(name):
    size = kd.Denoiser.sizes[name]
    assert size["hidden_dim"] % size["num_heads"] == 0
    assert (size["hidden_dim"] // size["num_heads"]) % 4 == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"position": "sinusoidal"}, "`position`"),
        ({"position": "learned"}, "`length`"),
        ({"num_heads": 3}, "`num_heads`"),
        ({"hidden_dim": 6, "num_heads": 2}, "multiple of 2"),
        ({"hidden_dim": 12, "num_heads": 2, "grid": (2, 2)}, "multiple of 4"),
        ({"noise": "pyramid"}, "grid"),
        ({"noise": "laplace"}, "`noise`"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        denoiser(**arguments)


def test_self_conditioning_starts_without_effect():
    new = denoiser(random=False, self_conditioning=True)
    plain = denoiser(random=False)
    assert len(new.weights) == len(plain.weights) + 1
    layer, prediction = denoiser(self_conditioning=True), np.random.dirichlet(np.ones(K), (2, 6))
    assert_differ(logits(layer, ids()), logits(layer, ids(), prediction=prediction))
    layer.prediction_embedding.kernel.assign(0.0 * layer.prediction_embedding.kernel)
    np.testing.assert_array_equal(logits(layer, ids()), logits(layer, ids(), prediction=prediction))
    with pytest.raises(ValueError, match="prediction.*self_conditioning"):
        denoiser()(ids(), np.zeros(2), prediction=prediction)
