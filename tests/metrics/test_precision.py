"""What is measured does not depend on the dtype policy in force, which is for what is trained."""

import contextlib

import keras
import ml_dtypes
import numpy as np
import pytest

import keras_dmmd as kd

LINE = "mister speaker and members of the congress"


@contextlib.contextmanager
def policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def measured():
    images = np.random.default_rng(0).integers(0, 17, (40, 64))
    features = kd.ImageFeatures.from_preset("digits_features")
    judge = kd.metrics.CausalReference.from_folder("sotu_chars_reference")
    return features.statistics(images), judge.judge([LINE])[0]


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_judges_are_float32(name):
    wanted, nats = measured()
    with policy(name):
        found, own = measured()
    np.testing.assert_allclose(found.covariance, wanted.covariance, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(own, nats, rtol=1e-5)
    assert 1.0 < nats[0] / len(LINE) * np.log2(np.e) < 3.0


def test_features_may_be_bfloat16():
    values = np.random.default_rng(0).normal(size=(20, 3)).astype(ml_dtypes.bfloat16)
    found = kd.metrics.FeatureStatistics(values)
    np.testing.assert_allclose(found.mean, values.astype("float64").mean(0), rtol=1e-6)
