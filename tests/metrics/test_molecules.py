"""Scores of molecules, counted by hand on a few."""

import sys

import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd.datasets.locations import package_folder
from keras_dmmd.metrics.molecules import ChemNetFeatures, canonical, score_molecules

pytestmark = pytest.mark.plain
pytest.importorskip("rdkit")

# Ethanol twice, in two spellings; benzene; an open ring; a carbon of five bonds; nothing; acetonitrile.
MOLECULES = ["CCO", "OCC", "c1ccccc1", "c1ccccc", "C(C)(C)(C)(C)C", "", "CC#N"]


def test_canonical():
    assert canonical(MOLECULES) == ["CCO", "CCO", "c1ccccc1", None, None, None, "CC#N"]


def test_scores():
    scores = score_molecules(MOLECULES, train=["CCO", "CCN"], k=3)
    assert scores["validity"] == pytest.approx((4 / 7, (4 / 7 * 3 / 7 / 7) ** 0.5))
    assert scores["unique@3"][0] == pytest.approx(2 / 3)  # the first three valid: one of them twice
    assert scores["novelty"][0] == pytest.approx(2 / 3)  # of three different ones, ethanol is known
    assert "novelty" not in score_molecules(MOLECULES, k=3)


def test_nothing_valid():
    scores = score_molecules(["C(", ")"], train=["CC"], k=1)
    assert scores["validity"] == (0.0, 0.0)
    assert np.isnan([*scores["unique@1"], *scores["novelty"]]).all()


def test_too_few():
    with pytest.raises(ValueError, match="`molecules` must be at least k=1000. Received: 7"):
        score_molecules(MOLECULES)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(ImportError, match="pip install rdkit"):
        canonical(["CC"])
    monkeypatch.setitem(sys.modules, "fcd_torch.utils", None)
    with pytest.raises(ImportError, match="pip install --no-deps fcd-torch"):
        ChemNetFeatures()


def test_real_molecules_are_close_and_broken_ones_are_not():
    """MOSES: halves of real molecules, and real ones of another kind, the smallest."""
    if package_folder("moses") is None or package_folder("fcd_torch") is None:
        pytest.skip("molsets or fcd-torch is not installed")
    _, test, _ = kd.datasets.load_moses()
    order = np.random.default_rng(0).permutation(len(test))[:1200]
    sample = [test[i] for i in order]
    scores = score_molecules(sample, train=test[:10])
    assert scores["validity"][0] == 1.0 and scores["unique@1000"][0] == 1.0
    assert scores["novelty"][0] > 0.99
    features = ChemNetFeatures()
    first, second = features.statistics(sample[:600]), features.statistics(sample[600:])
    short = features.statistics(sorted(test, key=len)[:600])
    near = kd.metrics.frechet_distance(first, second)
    assert 0 < near < 5 < kd.metrics.frechet_distance(first, short)
    assert features(["C(", "CCO"]).shape == (1, 512)
