"""`keras.callbacks.OrbaxCheckpoint`: a run of eight devices goes on on eight, four and one.

With arrays that `fit` shuffles: in the order that they would have had.
"""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import numpy, tiny_model, tokens

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="shards of JAX")


def distiller(devices):
    names = keras.distribution.list_devices()[:devices]
    with kd.distribution.FullySharded(devices=names).scope():
        models = [tiny_model(seed=seed, words=8) for seed in range(3)]
        made = kd.DMMDDistiller(*models, steps=2)
        made.compile(*(keras.optimizers.Adam(0.05, use_ema=True) for _ in range(2)))
    return made


def fit(model, devices, **options):
    names = keras.distribution.list_devices()[:devices]
    with kd.distribution.FullySharded(devices=names).scope():
        history = model.fit(tokens(16), batch_size=8, verbose=0, **options).history
    return history, [numpy(v) for v in model.trainable_variables]


def test_a_run_goes_on_with_fewer_devices(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    backup = keras.callbacks.OrbaxCheckpoint(str(tmp_path), save_freq=2, max_to_keep=None)
    whole = distiller(8)
    expected, weights = fit(whole, 8, epochs=2, callbacks=[backup])
    state = [v for v in (*whole.variables, *whole.optimizer.variables) if 8 in v.shape]
    assert len(state) == 3 * 3 + 2 * 3 * 3  # of three networks; two moments and an average of two
    parts = {v.value.addressable_shards[0].data.nbytes / v.value.nbytes for v in state}
    assert parts == {1 / 8}
    for step in tmp_path.iterdir():
        if step.name != "2":  # the end of the first epoch
            step.rename(tmp_path.with_name(f"later_{step.name}"))
    for devices in (8, 4, 1):
        model = distiller(devices)
        model.student.denoiser.head.bias.assign(np.ones(8, "float32"))
        with kd.distribution.FullySharded(devices=keras.distribution.list_devices()[:devices]).scope():
            model.load_weights(tmp_path)
        found, again = fit(model, devices, initial_epoch=1, epochs=2)
        tolerance = {"rtol": 0} if devices == 8 else {"rtol": 1e-5, "atol": 1e-5}
        for name, values in found.items():
            np.testing.assert_allclose(values[0], expected[name][1], err_msg=name, **tolerance)
        for a, b in zip(weights, again, strict=True):
            np.testing.assert_allclose(b, a, **tolerance)


def test_a_state_of_another_model_is_refused():
    model, other = tiny_model(), tiny_model(words=8)
    for made in (model, other):
        made.compile("adam")
    before = numpy(model.denoiser.head.kernel)
    with pytest.raises(ValueError, match="another model's"):
        model.set_state_tree(other.get_state_tree())
    with pytest.raises(ValueError, match="another model's"):
        model.set_state_tree({"trainable_variables": {"00000": np.zeros(1)}})
    np.testing.assert_array_equal(numpy(model.denoiser.head.kernel), before)
    model.set_state_tree(model.get_state_tree("numpy_array"))
    np.testing.assert_array_equal(numpy(model.denoiser.head.kernel), before)
