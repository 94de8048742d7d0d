"""Molecules as SMILES strings: are they valid, different, new, and distributed like real ones?"""

import os

import numpy as np

from keras_dmmd import checks
from keras_dmmd.metrics.frechet import FeatureStatistics
from keras_dmmd.metrics.statistics import share_and_error
from keras_dmmd.metrics.streaming import Note
from keras_dmmd.optional import package

# What reports should say of scores of molecules, for `SampleScore(notes=…)`.
NOTES = {
    "validity": Note("share of strings that are molecules; higher is better"),
    "fcd": Note("Fréchet ChemNet Distance; lower is better", scale="log"),
}


def _package(name, install):
    return package(name, "A score of molecules", install)


def canonical(molecules):
    """RDKit's canonical SMILES of each string; `None` where it is no molecule, or is empty."""
    chem = _package("rdkit.Chem", "rdkit")
    # One line on the terminal for every string that is no molecule; whoever silenced it keeps that.
    with _package("rdkit.rdBase", "rdkit").BlockLogs():
        parsed = [chem.MolFromSmiles(text) if text else None for text in molecules]
    return [None if molecule is None else chem.MolToSmiles(molecule) for molecule in parsed]


def score_molecules(molecules, train=None, k=1000):
    """Validity, uniqueness and novelty, as the MOSES benchmark defines them (arXiv 1811.12823).

    Args:
        molecules: SMILES strings that a model wrote.
        train: those it learned from, canonical as they stand (of MOSES's, 99.97 % are), or `None`.
        k: how many valid molecules uniqueness looks at.

    Returns:
        A dict of shares with their binomial standard errors, `(share, error)`: `"validity"` of all
        strings; `"unique@k"` of the first k valid molecules; `"novelty"`, of the different valid ones
        those that `train` lacks. `nan` where there is nothing to count.

    Raises:
        ValueError: there are no strings, or fewer than k.

    Example:

    ```python
    kd.metrics.score_molecules(["CCO", "OCC", "CCN", "C(("], train=["CCO"], k=3)
    # {"validity": (0.75, ...), "unique@3": (0.667, ...), "novelty": (0.5, ...)}
    ```
    """
    k = checks.count("k", k)
    molecules = checks.texts("molecules", molecules)
    if len(molecules) < k:
        raise ValueError(f"`molecules` must be at least k={k}. Received: {len(molecules)}")
    valid = [text for text in canonical(molecules) if text is not None]
    distinct = set(valid)
    scores = {
        "validity": share_and_error(len(valid), len(molecules)),
        f"unique@{k}": share_and_error(len(set(valid[:k])), min(k, len(valid))),
    }
    if train is not None:
        if not isinstance(train, (set, frozenset)):
            train = set(checks.texts("train", train))
        scores["novelty"] = share_and_error(len(distinct - train), len(distinct))
    return scores


class ChemNetFeatures:
    """The features of the Fréchet ChemNet Distance (Preuer et al., arXiv 1803.09518), `(n, 512)`.

    The network and its weights are those of the package `fcd-torch`; it runs on Torch, whatever the
    Keras backend. Strings that are no molecules are left out.

    Args:
        batch_size: molecules at once.

    Example:

    ```python
    features = kd.metrics.ChemNetFeatures()  # after pip install --no-deps fcd-torch
    samples, test = ["CCO", "CCN", "CCC"], ["c1ccccc1", "CCO", "CO"]
    fcd = kd.metrics.frechet_distance(features.statistics(samples), features.statistics(test))
    ```
    """

    def __init__(self, batch_size=512):
        utils = _package("fcd_torch.utils", "--no-deps fcd-torch")
        torch = _package("torch", "torch")
        path = os.path.join(os.path.dirname(utils.__file__), "ChemNet_v0.13_pretrained.pt")
        # The package's own file: a description of layers with their arrays, not weights alone.
        self._network = utils.load_imported_model(torch.load(path, weights_only=False)).eval()
        self._dataset, self._torch = utils.SmilesDataset, torch
        self.batch_size = checks.count("batch_size", batch_size)

    def __call__(self, molecules):
        valid = [text for text in canonical(molecules) if text is not None]
        batches = self._torch.utils.data.DataLoader(
            self._dataset(valid, canonize=False), batch_size=self.batch_size
        )
        with self._torch.no_grad():
            rows = [self._network(batch.transpose(1, 2).float()).numpy() for batch in batches]
        return np.concatenate(rows) if rows else np.zeros((0, 512), "float32")

    def statistics(self, molecules):
        """`FeatureStatistics` of those that are valid."""
        return FeatureStatistics(self(molecules))
