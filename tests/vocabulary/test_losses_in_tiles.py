"""Losses whose logits are made a tile at a time are those of whole tables; so are their gradients."""

import contextlib

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import backend
from tests.builders import PROCESSES, key, numpy, randomise, small_model, tokens

# What they do differently is tested on every backend elsewhere, and scans are slow to compile.
TESTED = PROCESSES if keras.backend.backend() == "torch" else [PROCESSES[0], PROCESSES[2]]
EVERY = pytest.mark.parametrize("process", TESTED, ids=repr)


def pair(process, **kwargs):
    """Two models with the same weights: of whole tables, and of tiles of 4 positions."""
    models = [randomise(small_model(process, **kwargs)) for _ in range(2)]
    models[1].tiles = 4
    return models


def value_and_gradients(loss, variables):
    jax = keras.backend.backend() == "jax"
    with keras.StatelessScope() if jax else contextlib.nullcontext():
        (value, logs), gradients = backend.value_and_grad(loss, variables)
    return [numpy(value), *(numpy(logs[name]) for name in sorted(logs)), *map(numpy, gradients)]


def assert_same(found, wanted):
    for own, value in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own, value, rtol=1e-4, atol=1e-5)


@EVERY
def test_the_loss_of_a_teacher_and_the_bound(process):
    data = {"tokens": tokens(6), "known": np.arange(5) < np.array([[0], [2], [5], [0], [1], [0]])}
    whole, tiled = pair(process, prompts=True)
    for training in (True, False):
        found, wanted = (
            value_and_gradients(
                lambda m=m, training=training: (keras.ops.sum(m(data, training=training)), {}),
                m.trainable_variables,
            )
            for m in (tiled, whole)
        )
        assert_same(found, wanted)
        assert np.abs(wanted[0]) > 1.0


@EVERY
@pytest.mark.parametrize("role", ["critic", "student"])
def test_both_losses_of_moment_matching(process, role):
    options = {"steps": 2, "teacher_weight": 0.7, "temperature": 0.8, "top_p": 0.9, "noise_scale": 0.5}
    if process.absorbing:
        options["target"] = "soft"
    found = []
    for teacher in pair(process):
        distiller = kd.DMMDDistiller(teacher, **options)
        randomise(distiller.critic, seed=2)
        model = distiller.model_of(role)
        assert model.tiles == teacher.tiles

        def loss(distiller=distiller):
            values, logs = distiller.role_losses(role, tokens(6), key())
            return keras.ops.sum(values), logs

        found.append(value_and_gradients(loss, model.trainable_variables))
    assert_same(*found)
    assert max(np.abs(x).max() for x in found[0][1:]) > 1e-2


def test_guidance_in_tiles():
    models = pair(kd.MaskedDiffusion(3), num_classes=2)
    data = {"tokens": tokens(6), "labels": np.arange(6) % 2}
    found = []
    for teacher in models:
        distiller = kd.DMMDDistiller(teacher, guidance_scale=2.0, steps=2, noise_scale=0.5)
        randomise(distiller.critic, seed=2)
        values, logs = distiller.role_losses("student", data, key())
        found.append([numpy(values), *(numpy(logs[name]) for name in sorted(logs))])
    assert_same(*found)


@pytest.mark.long_compilation
def test_a_large_vocabulary_takes_tiles_and_trains():
    """Compiled, by XLA where there is XLA: two updates, and a round of distillation."""
    words, found = 2500, []
    data = np.random.default_rng(0).integers(0, words, (8, 6))
    options = {"jit_compile": keras.backend.backend() != "torch"}
    for tiles in ("auto", False):
        denoiser = kd.Denoiser(words, hidden_dim=8, num_layers=1, num_heads=2, cond_dim=8)
        teacher = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(words), length=6, tiles=tiles)
        randomise(teacher)
        assert bool(teacher.deferred_logits(data, np.ones(8, "float32")).tiles) == (tiles == "auto")
        teacher.compile(keras.optimizers.SGD(0.1), **options)
        history = teacher.fit(data, batch_size=4, verbose=0).history
        distiller = kd.DMMDDistiller(teacher, steps=2)
        distiller.compile(**options)
        logs = distiller.fit(data, batch_size=8, verbose=0).history
        found.append(np.concatenate([history["loss"], *logs.values()]))
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("tiles", [0, -1, 1.5, "many", None])
def test_tiles_that_are_none(tiles):
    with pytest.raises(ValueError, match="`tiles` must be 'auto', True, False or a number"):
        kd.DiffusionModel(kd.Denoiser(3, hidden_dim=8, num_heads=2), kd.MaskedDiffusion(3), tiles=tiles)


def test_tiles_are_kept(tmp_path):
    model = small_model()
    model.tiles = 7
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").tiles == 7
    assert model.copy().tiles == 7
