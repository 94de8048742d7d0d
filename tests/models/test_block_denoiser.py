import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from tests.builders import SMALL, K, all_on_torch, randomise

SIZE, LENGTH = 3, 9  # three blocks


def denoiser(**kwargs):
    return randomise(kd.BlockDenoiser(K, block_size=SIZE, **{**SMALL, "num_layers": 2, **kwargs}))


def ids(seed, length=LENGTH):
    return np.random.default_rng(seed).integers(K, size=(2, length)).astype("int32")


T = np.array([0.3, 0.8], "float32")


def logits(layer, z, **kwargs):
    return ops.convert_to_numpy(layer(z, T, **kwargs))


def block(i):
    return slice(i * SIZE, (i + 1) * SIZE)


@all_on_torch(
    ("kwargs", "tolerance"),
    [
        ({}, 2e-5),
        ({"position": "learned", "length": LENGTH}, 2e-5),
        ({"dtype": "mixed_bfloat16"}, 0.1),
        ({"dtype": "mixed_float16"}, 0.02),
    ],
    first=2,
)
def test_cached_and_uncached_logits_are_equal(kwargs, tolerance):
    """All blocks at once, as in training; one canvas beside a cache, as in sampling."""
    layer, z, clean = denoiser(num_classes=3, **kwargs), ids(0), ids(1)
    labels = np.array([0, 2])
    together = logits(layer, z, context=clean, labels=labels)
    cache = layer.empty_cache(2, LENGTH)
    for i in range(3):
        start = ops.convert_to_tensor(i * SIZE)
        alone = logits(layer, z[:, block(i)], cache=cache, start=start, labels=labels)
        np.testing.assert_allclose(alone, together[:, block(i)], atol=tolerance)
        if i < 2:
            cache = layer.extend(cache, clean[:, block(i)], start)
    assert together.std() > 0.2


def test_what_is_not_in_the_cache_yet_does_not_count():
    layer, z = denoiser(), ids(0)[:, :SIZE]
    empty, full = layer.empty_cache(2, LENGTH), layer.empty_cache(2, LENGTH)
    full = [tuple(ops.ones_like(x) * 3.0 for x in pair) for pair in full]
    start = ops.convert_to_tensor(0)
    np.testing.assert_array_equal(
        logits(layer, z, cache=empty, start=start), logits(layer, z, cache=full, start=start)
    )
    alone = logits(layer, z)  # a sequence of one block
    np.testing.assert_allclose(logits(layer, z, cache=empty, start=start), alone, atol=2e-5)


@pytest.mark.parametrize("place", range(LENGTH))
def test_who_sees_what(place):
    """A corrupted token is seen by its own block alone, a clean one by the blocks after its own."""
    layer, z, clean = denoiser(), ids(0), ids(1)
    base = logits(layer, z, context=clean)
    for what, sees in (("z", lambda i: i == place // SIZE), ("clean", lambda i: i > place // SIZE)):
        inputs = {"z": z.copy(), "clean": clean.copy()}
        inputs[what][:, place] = (inputs[what][:, place] + 1) % K
        other = logits(layer, inputs["z"], context=inputs["clean"])
        for i in range(3):
            if sees(i):  # every position of the block
                assert (np.abs(other - base)[:, block(i)].max(axis=-1) > 1e-5).all()
            else:
                np.testing.assert_allclose(other[:, block(i)], base[:, block(i)], atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_far_positions_stay_apart_under_every_policy(policy):
    """Rotary attention knows distances alone, wherever a canvas begins; bfloat16 counts to 256."""
    layer, z = denoiser(dtype=policy), ids(0)[:, :SIZE]
    near, far = (
        logits(layer, z, cache=layer.empty_cache(2, LENGTH), start=ops.convert_to_tensor(start))
        for start in (0, 1023)
    )
    # Nothing is in the cache at 0; at 1023, zeros are: keep them out of sight.
    alone = logits(layer, z)
    np.testing.assert_allclose(near, alone, atol=0.05 * alone.std())
    x, angles = layer.embed(z, start=ops.convert_to_tensor(1023))
    condition = layer.condition(ops.convert_to_tensor(T))
    for block_ in layer.blocks:
        x = block_(x, condition, angles)
    shifted = ops.convert_to_numpy(layer.logits(layer.finish(x, condition)))
    np.testing.assert_allclose(shifted, alone, atol=0.05 * alone.std())
    assert np.isfinite(far).all()


def test_finished_blocks_are_read_at_time_0_without_a_label():
    """What is read of them is what the blocks make of them under that condition, and no other."""
    layer, clean = denoiser(num_classes=3), ids(1)[:, :SIZE]
    cache = layer.extend(layer.empty_cache(2, LENGTH), clean, ops.convert_to_tensor(0))
    x, angles = layer.embed(clean)
    conditions = [layer.condition(np.zeros(2, "float32")), layer.condition(T, np.array([0, 1]))]
    for condition, same in zip(conditions, (True, False), strict=True):
        h = x
        for block_, memory in zip(layer.blocks, cache, strict=True):
            h, own = block_(
                h, condition, angles, attention_mask=np.tri(SIZE, dtype=bool), return_memory=True
            )
            for written, read in zip(memory, own, strict=True):
                written = ops.convert_to_numpy(written).swapaxes(1, 2)  # a head's tokens lie together
                read = ops.convert_to_numpy(read)
                assert np.allclose(written[:, :SIZE], read, atol=1e-5) == same
                assert (written[:, SIZE:] == 0).all()


def test_gradients_reach_the_reading_of_clean_tokens():
    """An id that only the first clean block has: its embedding is learned from later blocks."""
    layer = denoiser()
    z, clean = np.zeros((2, LENGTH), "int32"), np.zeros((2, LENGTH), "int32")
    clean[:, 1] = 3
    table = layer.token_embedding.embeddings
    before = ops.convert_to_numpy(table)
    layer.trainable = False
    layer.token_embedding.trainable = True

    class Last(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def call(self, inputs):
            return self.layer(z, T, context=clean)[:, -SIZE:]

    model = Last()
    model.compile(keras.optimizers.SGD(1.0), loss="mse", jit_compile=False)
    model.fit(clean, np.ones((2, SIZE, K), "float32"), batch_size=2, verbose=0)
    moved = np.abs(ops.convert_to_numpy(table) - before).max(axis=1)
    assert moved[3] > 1e-4 and (moved[[1, 2, 4]] == 0).all()


def test_it_is_a_denoiser_that_saves_and_copies(tmp_path):
    model = kd.DiffusionModel(denoiser(prompts=True), kd.MaskedDiffusion(K), length=LENGTH)
    model.save(tmp_path / "model.keras")
    samples = model.generate(3, steps=2, seed=1)
    for other in (keras.saving.load_model(tmp_path / "model.keras"), model.copy(noise="gaussian")):
        assert other.capabilities.block_size == SIZE
        np.testing.assert_allclose(
            logits(other.denoiser, ids(0), context=ids(1)),
            logits(model.denoiser, ids(0), context=ids(1)),
            atol=1e-6,
        )
    np.testing.assert_array_equal(
        keras.saving.load_model(tmp_path / "model.keras").generate(3, steps=2, seed=1), samples
    )


def test_bad_arguments_say_what_is_wrong():
    with pytest.raises(ValueError, match="block_size.*0"):
        kd.BlockDenoiser(K, block_size=0, **SMALL)
    with pytest.raises(ValueError, match="grid"):
        kd.BlockDenoiser(K, block_size=2, grid=(2, 2), **SMALL)
    layer = denoiser()
    with pytest.raises(ValueError, match="blocks of 3.*8"):
        layer(ids(0, 8), T, context=ids(1, 8))
    with pytest.raises(ValueError, match="context"):
        layer(ids(0), T)
    with pytest.raises(ValueError, match="multiples.*10"):
        kd.DiffusionModel(layer, kd.MaskedDiffusion(K), length=10)
    model = kd.DiffusionModel(layer, kd.MaskedDiffusion(K), length=LENGTH)
    with pytest.raises(ValueError, match="multiples.*7"):
        model.generate(1, length=7)
    with pytest.raises(ValueError, match="earlier block.*index 1"):
        model.generate(prompts=[[1, 2], [kd.Gap(4), [1]]])
    learned = denoiser(position="learned", length=LENGTH)
    model = kd.DiffusionModel(learned, kd.MaskedDiffusion(K), length=LENGTH)
    with pytest.raises(ValueError, match="9 tokens.*12"):
        model.generate(1, length=12)
