"""Files of records, and folders of images: what is read from them, and what is refused."""

import numpy as np
import pytest

from keras_dmmd import datasets

pytestmark = pytest.mark.plain


def test_smiles(tmp_path):
    (tmp_path / "m.smi").write_text("\ufeffCCO ethanol\n\nC#N\tHCN\nc1ccccc1\r\n")
    assert datasets.load_smiles(tmp_path / "m.smi") == ["CCO", "C#N", "c1ccccc1"]
    (tmp_path / "empty.smi").write_text("\n \n")
    with pytest.raises(ValueError, match="no SMILES"):
        datasets.load_smiles(tmp_path / "empty.smi")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.load_smiles(tmp_path / "nowhere.smi")


def test_fasta(tmp_path):
    path = tmp_path / "p.fasta"
    path.write_text(">one first\nACD\nEF *\n; a remark\n>empty\n\n>two\nGH\n")
    assert datasets.load_fasta(path) == ["ACDEF", "GH"]
    path.write_text("ACD\n>one\nEF\n")
    with pytest.raises(ValueError, match="no FASTA: its first line is 'ACD'"):
        datasets.load_fasta(path)
    path.write_text(">one\n>two\n")
    with pytest.raises(ValueError, match="no sequence"):
        datasets.load_fasta(path)


def test_tables(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id,text,kind\n1,"a, ""b""\nc",x\n2,,y\n\n3,d,y\n')
    assert datasets.load_csv(path) == (['a, "b"\nc', "d"], None)
    assert datasets.load_csv(path, label="kind") == (['a, "b"\nc', "d"], ["x", "y"])
    assert datasets.load_csv(path, column="kind")[0] == ["x", "y", "y"]
    (tmp_path / "t.tsv").write_text("name\tsort\nann,a\tx\n")
    assert datasets.load_csv(tmp_path / "t.tsv", label="sort") == (["ann,a"], ["x"])


@pytest.mark.parametrize(
    "content, options, message",
    [
        ("", {}, "`column` must be one of the columns"),
        ("a,b\n1,2\n", {}, "has the texts. Name it with `column`"),
        ("text;b\n1;2\n", {}, "divided by commas.*';' divides"),
        ("text,b\n1,2\n", {"label": "c"}, "`label` must be one of the columns"),
        ("text,text\n1,2\n", {}, "`column` must be one of the columns"),
        ("text,b\n1,2\n3\n", {}, "Row 2 .* has 1 cells, and the header 2"),
        ("text,b\n,2\n", {}, "no text in the column 'text'"),
    ],
)
def test_tables_that_are_refused(content, options, message, tmp_path):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        datasets.load_csv(tmp_path / "t.csv", **options)


def test_rows_are_divided_by_what_they_hold():
    rows = np.random.default_rng(0).integers(0, 50, (400, 3))
    rows = np.concatenate([rows, rows[:100]])
    held = datasets.split_rows(rows, 0.25)
    assert (held[:100] == held[400:]).all() and 60 < held[:400].sum() < 140
    more = datasets.split_rows(np.concatenate([rows[50:], rows[:50] + 1]), 0.25)
    assert (more[:450] == held[50:]).all()
    assert (datasets.split_rows(rows.astype("uint8"), 0.25) == held).all()
    assert (datasets.split_rows(rows, 0.25, seed=1) != held).any()


@pytest.fixture
def folder(tmp_path):
    """Images of two classes: `images[i]` is in the file i."""
    image = pytest.importorskip("PIL.Image")
    images = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 3), "uint8")
    for i, pixels in enumerate(images):
        place = tmp_path / ("cat" if i < 3 else "dog")
        place.mkdir(exist_ok=True)
        image.fromarray(pixels).save(place / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    return tmp_path, images


def test_images(folder):
    folder, images = folder
    found = datasets.load_images(folder, levels=4, color=True)
    np.testing.assert_array_equal(found.tokens, (images // 64).reshape(4, -1))
    assert found.labels.tolist() == [0, 0, 0, 1] and found.classes == ["cat", "dog"]
    assert found.grid == (2, 9) and found.tokens.dtype == np.int32
    grey = datasets.load_images(folder, levels=256)
    expected = images @ [0.299, 0.587, 0.114]  # ITU-R 601
    np.testing.assert_allclose(grey.tokens, expected.reshape(4, -1), atol=1)
    assert grey.grid == (2, 3)
    one = datasets.load_images(folder / "dog")
    assert one.labels is None and one.classes is None and len(one.tokens) == 1
    small = datasets.load_images(folder, size=(1, 3), levels=256)
    np.testing.assert_allclose(small.tokens, expected.mean(axis=1), atol=2)


def test_images_that_are_refused(folder):
    image = pytest.importorskip("PIL.Image")
    folder, _ = folder
    with pytest.raises(ValueError, match=r"\['dog'\].*none of the classes \['cat'\]"):
        datasets.load_images(folder, classes=["cat"])
    image.new("L", (5, 5)).save(folder / "dog" / "large.png")
    with pytest.raises(ValueError, match="different sizes, .*give `size`"):
        datasets.load_images(folder)
    (folder / "dog" / "large.png").write_text("no image")
    with pytest.raises(ValueError, match="large.png' cannot be read"):
        datasets.load_images(folder)
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no images"):
        datasets.load_images(folder / "empty")


def test_what_is_transparent_becomes_white(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGBA", (1, 1), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert datasets.load_images(tmp_path, levels=256).tokens.tolist() == [[255]]
