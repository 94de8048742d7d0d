"""Both updates of a round at once, of one draw: each is what its role alone makes of that draw."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend
from tests.builders import ON_TORCH, QUICKLY, distiller, numpy, randomise, tokens

RATE = 0.1


def made(**kwargs):
    found = distiller(seed=3, target="soft", teacher_weight=0.5, **kwargs)
    for i, model in enumerate((found.student, found.critic)):
        randomise(model, seed=i)
    return found


def gradients(model, role, inputs):
    """Of a role's loss, with the draws of the first round."""
    variables = model.model_of(role).trainable_variables

    def found(inputs, key):
        def loss():
            values, _ = model.role_losses(role, inputs, key)
            return ops.mean(values), {}

        with kd.random.batch_rows(inputs.shape[0]):
            return backend.value_and_grad(loss, variables)[1]

    compiled = backend.compile_inference(found, model.variables, jit_compile=False)
    key = kd.random.as_key(keras.random.SeedGenerator(3))
    return [numpy(g) for g in compiled(ops.convert_to_tensor(inputs, "int32"), key)]


def test_each_role_moves_along_its_own_gradient():
    x, model = tokens(6), made(simultaneous=True)
    wanted = {role: gradients(made(), role, x) for role in ("student", "critic")}
    model.compile(keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE), **QUICKLY)
    before = {r: [numpy(v) for v in model.model_of(r).trainable_variables] for r in wanted}
    model.fit(x, batch_size=6, shuffle=False, verbose=0)
    for role, found in wanted.items():
        after = model.model_of(role).trainable_variables
        for old, new, gradient in zip(before[role], after, found, strict=True):
            np.testing.assert_allclose(numpy(new), old - RATE * gradient, rtol=1e-4, atol=1e-6)
        assert max(np.abs(g).max() for g in found) > 1e-2


@ON_TORCH
def test_it_trains_in_parts_and_is_kept(tmp_path):
    model = made(simultaneous=True)
    model.compile(micro_batches=2, **QUICKLY)
    history = model.fit(tokens(8), batch_size=8, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").simultaneous


def test_one_update_each():
    with pytest.raises(ValueError, match="critic_steps=2"):
        made(simultaneous=True, critic_steps=2)
