import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd.models import GaussianNoise, PyramidNoise, ScalarNoise, TokenNoise
from tests.builders import numpy, randomise, small_model

K, GRID, LENGTH = 5, (2, 3), 6
every_noise = pytest.mark.parametrize("noise", ["gaussian", "pyramid", "token", "scalar"])


def teacher():
    denoiser = kd.Denoiser(K, hidden_dim=16, num_layers=1, num_heads=2, cond_dim=8, grid=GRID)
    return kd.DiffusionModel(randomise(denoiser), kd.MaskedDiffusion(K), length=LENGTH)


def logits(model, seed):
    return numpy(model.logits(np.full((2, LENGTH), K), np.array([1.0, 0.5], "float32"), seed=seed))


@every_noise
def test_a_fresh_student_gives_its_teachers_logits_whatever_the_noise(noise):
    original = teacher()
    student = original.copy(noise=noise)
    assert student.capabilities.noise and not original.capabilities.noise
    for seed in (1, 2):
        np.testing.assert_allclose(logits(student, seed), logits(original, seed), atol=1e-6)


@every_noise
def test_once_the_projection_moves_the_noise_matters(noise):
    student = teacher().copy(noise=noise)
    randomise(student.denoiser.noise)
    assert np.abs(logits(student, 1) - logits(student, 2)).max() > 1e-2
    np.testing.assert_array_equal(logits(student, 1), logits(student, 1))


@every_noise
def test_a_copy_without_noise_of_a_noisy_student(noise):
    original = teacher()
    student = original.copy(noise=noise)
    randomise(student.denoiser.noise)
    plain = student.copy()
    assert not plain.capabilities.noise
    np.testing.assert_allclose(logits(plain, 1), logits(original, 1), atol=1e-6)


@every_noise
def test_noise_is_a_function_of_its_seed(noise):
    denoiser = teacher().copy(noise=noise).denoiser
    first, again, other = (numpy(denoiser.sample_noise(2, LENGTH, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_scalar_noise_is_one_number_for_a_sequence():
    """Its waves have unit variance, so that its projection makes features of a known size."""
    layer = ScalarNoise(4, features=3)
    layer.build(None)
    layer.project.kernel.assign(np.eye(3, 4))
    noise = layer.sample(4000, 6, seed=1)
    assert noise.shape == (4000, 1, 1)
    waves = numpy(layer(noise))[:, 0, :3]
    np.testing.assert_allclose(np.cov(waves.T), np.eye(3), atol=5 * (2 / 4000) ** 0.5)
    assert ScalarNoise.from_config(layer.get_config()).features == 3


def test_gaussian_noise_is_standard_and_independent():
    noise = numpy(GaussianNoise(16, features=3).sample(4000, 2, seed=1)).reshape(4000, 6)
    np.testing.assert_allclose(np.cov(noise.T), np.eye(6), atol=5 * (2 / 4000) ** 0.5)
    assert np.abs(noise.mean(0)).max() < 5 / 4000**0.5


def test_token_noise_is_uniform_over_its_symbols():
    noise = numpy(TokenNoise(16, symbols=4).sample(5000, 2, seed=1))
    assert noise.shape == (5000, 2)
    counts = np.bincount(noise.reshape(-1), minlength=4)
    assert np.abs(counts - 2500).max() < 5 * 2500**0.5


def test_every_pyramid_feature_is_standard_and_independent_of_the_others():
    noise = numpy(PyramidNoise(16, (3, 5), features=6).sample(2000, 15, seed=1))
    assert noise.shape == (2000, 15, 6)
    np.testing.assert_allclose(noise.var(0), 1.0, atol=6 * (2 / 2000) ** 0.5)
    assert np.abs(noise.mean(0)).max() < 6 / 2000**0.5
    for pixel in (0, 14):
        assert np.abs(np.corrcoef(noise[:, pixel].T) - np.eye(6)).max() < 5 / 2000**0.5


@pytest.mark.parametrize("grid, features", [((4, 4), 7), ((3, 5), 4), ((1, 1), 2)])
def test_pyramid_levels_are_constant_in_blocks(grid, features):
    layer = PyramidNoise(16, grid, features=features)
    rows, columns = grid
    noise = numpy(layer.sample(2, rows * columns, seed=1)).reshape(2, rows, columns, features)
    level_of = np.sort(np.arange(features) % layer.levels)  # the finest take what is left over
    for feature, level in enumerate(level_of):
        size = 2**level
        values = noise[..., feature]
        corners = values[:, np.arange(rows) // size * size][:, :, np.arange(columns) // size * size]
        np.testing.assert_array_equal(values, corners)
        blocks = values[:, ::size, ::size].reshape(-1)
        assert len(np.unique(blocks)) == len(blocks)
    top = noise[..., level_of == layer.levels - 1]
    np.testing.assert_array_equal(top, np.broadcast_to(top[:, :1, :1], top.shape))


def test_a_pyramid_needs_a_feature_a_level():
    with pytest.raises(ValueError, match="at least 4"):
        PyramidNoise(16, (8, 8), features=3)


def test_a_pyramid_needs_the_length_of_its_grid():
    with pytest.raises(ValueError, match="length=7"):
        PyramidNoise(16, (2, 4)).sample(1, 7, seed=1)


def test_a_pyramid_needs_a_grid():
    with pytest.raises(ValueError, match="grid"):
        kd.Denoiser(K, hidden_dim=16, noise="pyramid")


def test_noise_must_be_known():
    with pytest.raises(ValueError, match="`noise`.*'token'"):
        kd.Denoiser(K, hidden_dim=16, noise="laplace")


@pytest.mark.parametrize(
    "layer",
    [
        GaussianNoise(16, features=3),
        PyramidNoise(16, GRID, features=16),
        TokenNoise(16, symbols=9),
    ],
)
def test_config_round_trip(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(*(numpy(x.sample(2, LENGTH, seed=1)) for x in (layer, again)))


@pytest.mark.parametrize("noise", ["gaussian", "token"])
def test_noise_that_acts_from_the_start(noise):
    """A copy starts as its teacher; with a scale its first logits depend on its noise."""
    teacher = randomise(small_model())
    z, t = np.full((2, 5), 3), np.ones(2, "float32")
    for scale in (0.0, 0.5):
        own = kd.DMMDDistiller(teacher, noise=noise, noise_scale=scale, steps=2)
        again = kd.DMMDDistiller(teacher, noise=noise, noise_scale=scale, steps=2)
        layer = own.student.capabilities.noise_layer
        weights = np.concatenate([numpy(w).reshape(-1) for w in layer.weights])
        assert abs(weights.std() - scale) < 0.1 * scale + 1e-9
        for a, b in zip(own.student.get_weights(), again.student.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        first, second = (numpy(own.student.logits(z, t, seed=seed)) for seed in (0, 1))
        assert (np.abs(first - second).max() > 1e-3) == (scale > 0)
    standard = kd.DMMDDistiller(teacher, noise=noise, steps=2).student.capabilities.noise_layer
    weights = np.concatenate([numpy(w).reshape(-1) for w in standard.weights])
    assert weights.std() == pytest.approx({"gaussian": 0.0, "token": 0.5}[noise], abs=0.05)
    distiller = kd.DMMDDistiller(teacher, noise=None, noise_scale=0.5, steps=2)
    assert distiller.student.capabilities.noise_layer is None
