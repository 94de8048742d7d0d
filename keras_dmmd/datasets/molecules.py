"""Molecules as SMILES strings."""

import gzip
import os
import zlib

import keras

from keras_dmmd import checks
from keras_dmmd.datasets.locations import keras_cache, package_folder

PARTS = ("train", "test", "test_scaffolds")
# All of it in one file of the authors' repository, and its name in the cache of `keras.utils.get_file`.
MOSES_URL = "https://media.githubusercontent.com/media/molecularsets/moses/master/data/dataset_v1.csv"
MOSES_SHA256 = "bb47a94d347afd476d3828b5e26dceeabc42a2d8cf92a791d00349f22fea0d8b"
MOSES_FILE = "moses_dataset_v1.csv"


def load_moses(path=None, download=False):
    """The MOSES benchmark: drug-like molecules (Polykovskiy et al., arXiv 1811.12823), MIT.

    Args:
        path: the folder with `train.csv.gz`, `test.csv.gz` and `test_scaffolds.csv.gz`. By default
            that of the installed package `molsets`, which is not imported, or what was downloaded
            before.
        download: whether all of it, 84 MB, may be fetched from the authors' repository into the cache
            of `keras.utils.get_file` if it is nowhere.

    Returns:
        `(train, test, test_scaffolds)`: lists of 1,584,663, 176,074 and 176,225 strings; all distinct,
        and the scaffolds of the last occur in no other.

    Raises:
        FileNotFoundError: the files are not there, or cannot be fetched.
        ValueError: a file is damaged.

    Example:

    ```python
    train, test, test_scaffolds = kd.datasets.load_moses()  # after pip install --no-deps molsets
    rows = kd.tokenizers.SmilesTokenizer().encode_batch(train[:1000], length=56)
    ```
    """
    if path is None:
        package = package_folder("moses")
        folder = os.path.join(package, "dataset", "data") if package else None
    else:
        folder = checks.path("path", path)
    if folder is not None and os.path.exists(os.path.join(folder, "train.csv.gz")):
        return tuple(_read(os.path.join(folder, f"{part}.csv.gz")) for part in PARTS)
    cached = keras_cache(MOSES_FILE)
    if path is None and (download or os.path.exists(cached)):
        return _read_all(cached if os.path.exists(cached) else _fetch(cached))
    where = "" if folder is None else f" in {os.fspath(folder)!r}"
    raise FileNotFoundError(
        f"MOSES is not there{where}: pip install --no-deps molsets, or pass `path=` or `download=True`."
    )


def _fetch(cached):
    folder = os.path.dirname(cached)
    os.makedirs(folder, exist_ok=True)  # or get_file takes another one
    place, name = os.path.split(folder)
    options = {"cache_dir": place, "cache_subdir": name, "file_hash": MOSES_SHA256}
    try:
        return keras.utils.get_file(MOSES_FILE, MOSES_URL, **options)
    except Exception as error:  # of which get_file raises no other kind
        raise FileNotFoundError(
            f"`download=True` could not fetch {MOSES_URL}: {error}. Then pip install --no-deps molsets "
            "has the same molecules."
        ) from error


def _read_all(path):
    """The parts of a table with columns `SMILES` and `SPLIT`."""
    found = {part: [] for part in PARTS}
    try:
        with open(path, encoding="ascii") as file:
            header, *rows = file.read().split()
        for row in rows:
            molecule, part = row.split(",")
            found[part].append(molecule)
    except (UnicodeDecodeError, ValueError, KeyError) as error:
        raise ValueError(f"The file {path!r} is damaged: {error}") from error
    if header != "SMILES,SPLIT":
        raise ValueError(f"The file {path!r} should begin with SMILES,SPLIT. Received: {header[:40]!r}")
    return tuple(found[part] for part in PARTS)


def _read(path):
    """The first column of a gzipped CSV file with a header `SMILES`."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            header, *rows = file.read().split()
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:  # of what is no ASCII too
        raise ValueError(f"The file {path!r} is damaged: {error}") from error
    if header.split(",")[0] != "SMILES":
        raise ValueError(f"The file {path!r} should begin with SMILES. Received: {header[:40]!r}")
    return [row.partition(",")[0] for row in rows]
