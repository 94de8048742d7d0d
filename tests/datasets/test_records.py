"""Files of records, and folders of images: what is read from them, and what is refused."""

import numpy as np
import pytest

from keras_dmmd import datasets

pytestmark = pytest.mark.plain


def test_smiles(tmp_path):
    (tmp_path / "m.smi").write_text("\ufeffCCO ethanol\n\nC#N\tHCN\nc1ccccc1\r\n")
    assert datasets.load_smiles(tmp_path / "m.smi") == ["CCO", "C#N", "c1ccccc1"]
    (tmp_path / "m.smi").write_text("# of a program\nsmiles name\nCCO a\u2028b\n#C\nCN\n")
    assert datasets.load_smiles(tmp_path / "m.smi") == ["CCO", "CN"]
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
    (tmp_path / "t.TSV").write_text("name\tsort\nann,a\tx\n")
    assert datasets.load_csv(tmp_path / "t.TSV", label="sort") == (["ann,a"], ["x"])


@pytest.mark.parametrize(
    "content, options, message",
    [
        ("", {}, "t.csv' is empty: a table begins with a header"),
        ('text,b\na,1\n"x,2\ny,3\nz,4\n', {}, "unexpected end of data, in .* begins in line 3"),
        ('text,b\n"x" y,2\n', {}, "t.csv' is no table: .* begins in line 2"),
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
    for classes in ({"cat", "dog"}, "cat", ["cat", "cat"], 3):
        with pytest.raises(ValueError, match="`classes` must"):
            datasets.load_images(folder, classes=classes)
    found = datasets.load_images(folder, classes=np.array(["dog", "cat"]))
    assert found.classes == ["dog", "cat"] and found.labels.tolist() == [1, 1, 1, 0]
    with pytest.raises(ValueError, match=r"itself, not in folders that are their classes: \['cat"):
        datasets.load_images(folder / "dog", classes=["cat", "dog"])
    image.new("L", (5, 5)).save(folder / "dog" / "large.png")
    with pytest.raises(ValueError, match="different sizes, .*give `size`"):
        datasets.load_images(folder)
    (folder / "dog" / "large.png").write_text("no image")
    with pytest.raises(ValueError, match="large.png' cannot be read"):
        datasets.load_images(folder)
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no images"):
        datasets.load_images(folder / "empty")


def test_hidden_folders_are_no_classes_and_endings_in_any_case(folder):
    image = pytest.importorskip("PIL.Image")
    folder, _ = folder
    for place in (".thumbnails", "dog/.cache"):
        (folder / place).mkdir()
        image.new("L", (7, 7)).save(folder / place / "a.png")
    (folder / "dog" / "3.png").rename(folder / "dog" / "3.PNG")
    (folder / "dog" / "up").symlink_to(folder)  # round and round
    found = datasets.load_images(folder)
    assert found.labels.tolist() == [0, 0, 0, 1] and found.classes == ["cat", "dog"]


def test_images_of_more_bits_and_turned_ones(tmp_path):
    """Values of 16 bits keep their order of size, and a photograph its top."""
    image = pytest.importorskip("PIL.Image")
    values = np.array([[0, 255, 256], [32768, 65279, 65535]], "uint16")
    image.fromarray(values).save(tmp_path / "a.png")
    image.fromarray(values).save(tmp_path / "b.tif")
    (tmp_path / "c.pgm").write_bytes(b"P5 3 2 65535\n" + values.astype(">u2").tobytes())
    expected = [[0, 0, 1, 128, 254, 255]] * 3
    assert datasets.load_images(tmp_path, levels=256).tokens.tolist() == expected
    image.fromarray(np.ones((2, 3), "float32") / 2).save(tmp_path / "d.tif")
    with pytest.raises(ValueError, match="d.tif' cannot be read: .*mode 'F', have no range"):
        datasets.load_images(tmp_path)
    turned = image.fromarray(np.array([[10, 20]], "uint8"))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    (tmp_path / "photos").mkdir()
    turned.save(tmp_path / "photos" / "a.png", exif=exif)
    found = datasets.load_images(tmp_path / "photos", levels=256)
    assert found.grid == (2, 1) and found.tokens.tolist() == [[10, 20]]


def test_what_is_transparent_becomes_white(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGBA", (1, 1), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert datasets.load_images(tmp_path, levels=256).tokens.tolist() == [[255]]


def test_quotes_of_a_table_with_tabs_may_be_marks_like_any_other(tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text('text\tlabel\n"Hello," she said.\t1\n')
    assert datasets.load_csv(path) == (['"Hello," she said.'], None)
    path.write_text('text\tlabel\n"a ""b""\tc"\t1\n')
    assert datasets.load_csv(path) == (['a "b"\tc'], None)
    path.write_text('text\tlabel\n"a\n\nb"\t1\n"c"\t2\n')
    assert datasets.load_csv(path) == (["a\n\nb", "c"], None)
    path.write_text('text\tlabel\n"I came,\tA\nand went\tB\nI saw"\tC\nfine\tD\n')
    found = ['"I came,', "and went", 'I saw"', "fine"], ["A", "B", "C", "D"]
    assert datasets.load_csv(path, label="label") == found
    path.write_text('text\n"I came,\nI saw"\n')  # of one column nobody can tell
    assert datasets.load_csv(path) == (["I came,\nI saw"], None)
