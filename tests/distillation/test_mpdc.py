"""MPDC's fixed point: the exact prediction of a law that can be enumerated."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend
from tests.builders import PROCESSES, QUICKLY, key, numpy, small_model, tiny_model, tokens
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class Sharpened(ExactDenoiser):
    """The exact prediction, with logits that a weight makes larger or smaller."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = self.add_weight(name="gain", shape=(), initializer="ones")

    def call(self, z_t, t, known=None):
        return self.gain * super().call(z_t, t, known)


def slopes(process, gains, parts=8, n=4000):
    """Derivatives of the loss by the student's gain, at each: their mean, and its standard error."""
    law = toy.random_modes(1, length=3, modes=4)
    models = [kd.DiffusionModel(Sharpened(*law, process), process, length=3) for _ in range(3)]
    model = kd.MPDCDistiller(*models, steps=1)
    (weight,) = model.student.trainable_variables

    def slope(rows, key):
        def loss():
            values, _ = model.role_losses("student", rows, key)
            return ops.mean(values), {}

        with kd.random.batch_rows(rows.shape[0]):
            return backend.value_and_grad(loss, [weight])[1]

    compiled = backend.compile_inference(slope, model.variables, jit_compile=False)
    for gain in gains:
        weight.assign(gain)
        found = []
        for i, part_key in enumerate(kd.random.split(key(), parts)):
            rows = ops.convert_to_tensor(toy.samples(*law, n, i), "int32")
            found.append(float(numpy(compiled(rows, part_key)[0])))
        yield np.mean(found), np.std(found, ddof=1) / parts**0.5


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_the_exact_prediction_is_its_fixed_point(process):
    """There the slope is 0 within its error, and off it points back."""
    (mean, error), (flat, error_of_flat) = slopes(process, (1.0, 0.6))
    assert abs(mean) < 4 * error
    assert flat < -6 * error_of_flat and error < 0.2 * abs(flat)


def test_the_average_follows():
    model = kd.MPDCDistiller(tiny_model(), steps=2, momentum=0.75)
    model.compile(keras.optimizers.SGD(0.5), **QUICKLY)
    before = model.average.get_weights()
    model.fit(tokens(8), batch_size=8, verbose=0)
    after = model.student.get_weights()
    for first, last, own in zip(before, after, model.average.get_weights(), strict=True):
        np.testing.assert_allclose(own, 0.75 * first + 0.25 * last, rtol=1e-5, atol=1e-6)


def test_integers_are_not_averaged():
    """Of what is quantised the average keeps all bits; only what is beside it is trained."""
    teacher = tiny_model()
    teacher.quantize("int8")
    model = kd.MPDCDistiller(teacher, adapters=2, steps=2, momentum=0.9)
    model.compile(keras.optimizers.SGD(0.5), **QUICKLY)
    before = {v.path: numpy(v) for v in model.average.weights if "int" in v.dtype}
    model.fit(tokens(8), batch_size=8, epochs=3, verbose=0)
    assert before
    for variable in model.average.weights:
        if variable.path in before:
            np.testing.assert_array_equal(numpy(variable), before[variable.path])


def test_an_average_in_half_precision_is_a_warning():
    """Its steps may be less than bfloat16 can tell. Default optimizers are without."""
    teacher = small_model(dtype="bfloat16")
    with pytest.warns(UserWarning, match="average of MPDCDistiller is kept in bfloat16"):
        kd.MPDCDistiller(teacher, steps=2)
    distiller = kd.DMMDDistiller(teacher, steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distiller.compile()
    assert not any(optimizer.use_ema for optimizer in distiller.optimizer.optimizers)
    slow = keras.optimizers.Adam(use_ema=True)
    with pytest.warns(UserWarning, match="`use_ema` is kept in bfloat16.*'mixed_bfloat16'"):
        distiller.compile(keras.optimizers.LossScaleOptimizer(slow))
    teacher.compile(keras.optimizers.Adam(use_ema=True))
    with pytest.warns(UserWarning, match="`use_ema` is kept in bfloat16"):
        teacher.fit(tokens(8), verbose=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: {"student": t.copy(noise="gaussian")}, "MPDCDistiller would learn the mean alone"),
        (lambda t: {"average": small_model(hidden_dim=8)}, "average takes on the student's weights"),
        (lambda t: {"momentum": 1.0}, "`momentum` must be"),
        (lambda t: {"steps": (1, 4)}, "`steps` must be"),
    ],
)
def test_bad_combinations(make, message):
    teacher = tiny_model()
    with pytest.raises(ValueError, match=message):
        kd.MPDCDistiller(teacher, **make(teacher))
