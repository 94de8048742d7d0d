"""Every backend gives the numbers of the float64 oracle (`tests/oracles/make_numbers.py`)."""

import json
import pathlib

import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from tests.oracles import make_numbers

NUMBERS = json.loads((pathlib.Path(__file__).parent / "numbers.json").read_text())
K = make_numbers.K
PROCESSES = {
    "masked": kd.MaskedDiffusion(K),
    "uniform": kd.UniformDiffusion(K),
    "uniform-loo": kd.UniformDiffusion(K, prediction="loo"),
}
every_process = pytest.mark.parametrize("name", PROCESSES)


def results(process, logits, x, z, s, t, prediction):
    return {
        "mean": ops.exp(process.log_mean(logits, z, t)),
        "posterior_of_ids": process.posterior(x, z, s, t),
        "posterior": process.posterior(prediction, z, s, t),
        "cost": process.cost(logits, z, t),
        "nelbo": process.nelbo(logits, x, z, t),
    }


@every_process
def test_the_numbers_are_those_of_the_oracle(name):
    expected = dict(NUMBERS[name])
    inputs = {
        key: ops.convert_to_tensor(value, "int32" if key in "xz" else "float32")
        for key, value in expected.pop("inputs").items()
    }
    actual = results(PROCESSES[name], **inputs)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(
            ops.convert_to_numpy(actual[key]), value, rtol=1e-5, atol=1e-5, err_msg=key
        )


@every_process
def test_the_file_is_up_to_date(name):
    fresh = make_numbers.plain(make_numbers.numbers(name))
    for key, value in fresh.items():
        if key != "inputs":
            np.testing.assert_allclose(NUMBERS[name][key], value, atol=1e-8, err_msg=key)
