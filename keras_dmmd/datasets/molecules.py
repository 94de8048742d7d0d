"""Molecules as SMILES strings."""

import gzip
import os

from keras_dmmd import checks
from keras_dmmd.datasets.locations import package_folder


def load_moses(path=None):
    """The MOSES benchmark: drug-like molecules (Polykovskiy et al., arXiv 1811.12823), MIT.

    Args:
        path: the folder with `train.csv.gz`, `test.csv.gz` and `test_scaffolds.csv.gz`. By default
            that of the installed package `molsets`, which is not imported.

    Returns:
        `(train, test, test_scaffolds)`: lists of 1,584,663, 176,074 and 176,225 strings; all distinct,
        and the scaffolds of the last occur in no other.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: a file is damaged.

    Example:

    ```python
    train, test, test_scaffolds = kd.datasets.load_moses()  # after pip install --no-deps molsets
    rows = kd.tokenizers.SmilesTokenizer().encode_batch(train[:1000], length=56)
    ```
    """
    if path is None:
        package = package_folder("moses")
        path = os.path.join(package, "dataset", "data") if package else None
    else:
        path = checks.path("path", path)
    if path is None or not os.path.exists(os.path.join(path, "train.csv.gz")):
        where = "" if path is None else f" in {os.fspath(path)!r}"
        raise FileNotFoundError(
            f"MOSES is not there{where}: pip install --no-deps molsets, or pass `path=`."
        )
    return tuple(
        _read(os.path.join(path, f"{part}.csv.gz")) for part in ("train", "test", "test_scaffolds")
    )


def _read(path):
    """The first column of a gzipped CSV file with a header `SMILES`."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            header, *rows = file.read().split()
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"The file {path!r} is damaged: {error}") from error
    if header.split(",")[0] != "SMILES":
        raise ValueError(f"The file {path!r} should begin with SMILES. Received: {header[:40]!r}")
    return [row.partition(",")[0] for row in rows]
