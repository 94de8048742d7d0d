import keras
import numpy as np
from keras import ops

import keras_dmmd as kd
from keras_dmmd.models import CausalConvolution
from keras_dmmd.tokenizers import CharacterTokenizer


def small(**kwargs):
    keras.utils.set_random_seed(0)
    model = CausalConvolution(5, hidden_dim=8, num_layers=2, **kwargs)
    model.head.kernel.assign(0.3 * np.random.default_rng(0).normal(size=(8, 5)))
    return model


def logits(model, ids):
    return ops.convert_to_numpy(model(ids))


def test_it_looks_back_and_only_so_far():
    """A change of one token moves the logits from there on, over 1 + 2 · (1 + 2) = 7 tokens."""
    model, ids = small(), np.random.default_rng(1).integers(0, 5, (1, 12))
    other = ids.copy()
    other[0, 3] = (ids[0, 3] + 1) % 5
    moved = np.abs(logits(model, other) - logits(model, ids))[0].max(axis=-1) > 1e-6
    assert moved.tolist() == [False] * 3 + [True] * 7 + [False] * 2


def test_it_learns_what_follows_and_judges(tmp_path):
    """abcabc…: after an a, a b; learned, saved with its tokenizer, loaded, and sure of it."""
    model = small(tokenizer=CharacterTokenizer("abcde"))
    rows = np.tile([0, 1, 2], (64, 4))
    before = np.concatenate([np.full_like(rows[:, :1], model.start_id), rows[:, :-1]], axis=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-2), loss)
    model.fit(before, rows, batch_size=16, epochs=15, verbose=0)
    kd.presets.save_to_preset(model, tmp_path)
    reference = kd.metrics.CausalReference(kd.from_preset(str(tmp_path)))
    sure, _ = kd.metrics.bits_per_character(["abcabcabc"], reference)
    unsure, _ = kd.metrics.bits_per_character(["acbacbacb"], reference)
    assert sure < 0.3 and unsure > 2
    inputs = {"token_ids": before[:2], "padding_mask": np.ones_like(before[:2])}
    np.testing.assert_array_equal(logits(model, before[:2]), ops.convert_to_numpy(model(inputs)))
