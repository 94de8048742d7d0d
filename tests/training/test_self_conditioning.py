"""A network that is shown its last prediction: in training for half of the examples, then always."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd.conditions import NOTHING
from tests.builders import PROCESSES, randomise, small_model, tokens


def model_of(process, **kwargs):
    model = small_model(process, self_conditioning=True, **kwargs)
    randomise(model.denoiser)
    return model


def without(model):
    """A copy whose predictions have no effect."""
    copy = model.copy()
    kernel = copy.denoiser.prediction_embedding.kernel
    kernel.assign(0.0 * kernel)
    return copy


def test_half_of_the_examples_see_a_first_prediction():
    model, n = model_of(PROCESSES[0]), 400
    z_t, t = np.full((n, 5), 3, "int32"), np.full(n, 0.5, "float32")
    key = kd.random.split(0, 2)[0]
    told, _ = model.self_condition(z_t, t, NOTHING, key)
    prediction = ops.convert_to_numpy(told.prediction)
    first = ops.convert_to_numpy(ops.softmax(model.logits(z_t, t), axis=-1))
    shown = prediction.any(axis=(1, 2))
    assert abs(shown.mean() - 0.5) < 5 * 0.5 / n**0.5
    np.testing.assert_allclose(prediction[shown], first[shown], rtol=1e-5)
    assert small_model().self_condition(z_t, t, NOTHING, key)[0].prediction is None


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_sampling_shows_the_last_prediction(process):
    """It has no part in the first step, and in every later one."""
    model = model_of(process)
    kernel = model.denoiser.prediction_embedding.kernel
    kernel.assign(20 * kernel)
    plain = without(model)
    one, two = ({"n": 64, "steps": k, "seed": 3} for k in (1, 2))
    np.testing.assert_array_equal(model.generate(**one), plain.generate(**one))
    assert (model.generate(**two) != plain.generate(**two)).any()
    path = model.generate(64, steps=2, seed=3, trajectory=True)
    np.testing.assert_array_equal(path[1], plain.generate(64, steps=2, seed=3, trajectory=True)[1])


def test_it_is_learned_distilled_and_saved(tmp_path):
    model = small_model(self_conditioning=True)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(tokens(256), epochs=3, batch_size=32, verbose=0)
    kernel = model.denoiser.prediction_embedding.kernel
    assert np.abs(ops.convert_to_numpy(kernel)).max() > 1e-3
    others = [kd.Di4CDistiller] if keras.backend.backend() == "torch" else []  # which compiles nothing
    for make in (*others, kd.DMMDDistiller):
        distiller = make(model, steps=2)
        distiller.compile()
        distiller.fit(tokens(), epochs=1, batch_size=32, verbose=0)
        student = distiller.student
        assert student.capabilities.self_conditioning
        learned = student.denoiser.prediction_embedding.kernel
        assert (ops.convert_to_numpy(learned) != ops.convert_to_numpy(kernel)).any()
    student.save(tmp_path / "student.keras")
    other = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(other.generate(8, seed=1), student.generate(8, seed=1))
