"""Files of which each record is an example of its own: SMILES, FASTA, tables."""

import csv
import io

from keras_dmmd import checks
from keras_dmmd.datasets.text import read_text


def load_smiles(path):
    """The molecules of a file of SMILES, one a line: what stands before the first space, as in `.smi`.

    Left out are remarks, which begin with `#`, and a header, a first line whose first word is SMILES.

    Returns:
        A list of strings, in the order of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8, or has no molecule.

    Example:

    ```python
    pathlib.Path("own.smi").write_text("CCO ethanol\\nc1ccccc1 benzene\\n")
    kd.datasets.load_smiles("own.smi")  # ["CCO", "c1ccccc1"]
    ```
    """
    words = [line.split()[:1] for line in read_text(checks.path("path", path)).split("\n")]
    found = [word for line in words for word in line if not word.startswith("#")]
    if found and found[0].lower() == "smiles":
        del found[0]
    return _some(found, path, "SMILES string")


def load_fasta(path):
    """The sequences of a FASTA file, without their names; an asterisk that ends one is left out.

    Returns:
        A list of strings, in the order of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8, does not begin with a line `>name`, or has no sequence.

    Example:

    ```python
    pathlib.Path("loops.fasta").write_text(">first\\nCASSLG\\nQAYEQYF\\n>second\\nCASSPGTGGF\\n")
    kd.datasets.load_fasta("loops.fasta")  # ["CASSLGQAYEQYF", "CASSPGTGGF"]
    ```
    """
    records = []
    for line in map(str.strip, read_text(checks.path("path", path)).split("\n")):
        if line.startswith(">"):
            records.append([])
        elif line and not line.startswith(";"):  # which is a remark
            if not records:
                raise ValueError(f"The file {path!r} is no FASTA: its first line is {line[:40]!r}.")
            records[-1].append("".join(line.split()))
    sequences = ["".join(parts).removesuffix("*") for parts in records]
    return _some([sequence for sequence in sequences if sequence], path, "sequence")


def load_csv(path, column=None, label=None):
    """Texts, and their classes, from a table with a header: commas, or tabs where it is a `.tsv`.

    Rows whose text is empty are left out.

    Args:
        path: of the file.
        column: the header of the texts; by default `"text"`, or the one column beside `label`.
        label: the header of the classes, or `None`.

    Returns:
        `(texts, labels)`: lists of strings, of one length; `labels` is `None` without `label`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8, has no such column, a quote that is not closed, or a row has other
            cells than the header.

    Example:

    ```python
    pathlib.Path("reviews.csv").write_text("text,rating\\nI liked it,5\\nnever again,1\\n")
    texts, ratings = kd.datasets.load_csv("reviews.csv", label="rating")
    texts, ratings  # ["I liked it", "never again"], ["5", "1"]
    ```
    """
    return read_table(path, column, label)[:2]


def read_table(path, column=None, label=None):
    """What `load_csv` returns, and the header of the texts, which nobody may have named."""
    path = checks.path("path", path)
    header, *rows = _cells(path) or [[]]
    if not header:
        raise ValueError(f"The file {path!r} is empty: a table begins with a header.")
    odd = next((mark for mark in ";\t" if len(header) == 1 and mark in header[0]), None)
    if odd:
        raise ValueError(
            f"The cells of {path!r} must be divided by commas, or by tabs where its name ends in .tsv. "
            f"Received: the header {header[0]!r}, which {odd!r} divides"
        )
    if column is None:
        others = [name for name in header if name != label]
        column = others[0] if len(others) == 1 else "text"
        if others and column not in header:
            raise ValueError(
                f"Which of the columns {header} of {path!r} has the texts? Name it with `column`."
            )
    places = []
    for name, what in ((column, "column"), (label, "label")):
        if name is not None and header.count(name) != 1:
            raise ValueError(
                f"`{what}` must be one of the columns {header} of {path!r}. Received: {name!r}"
            )
        places.append(None if name is None else header.index(name))
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(
                f"Row {number} of {path!r} has {len(row)} cells, and the header {len(header)}: "
                f"{checks.shown(row)}"
            )
    text, kind = places
    rows = _some([row for row in rows if row[text]], path, f"text in the column {column!r}")
    labels = None if kind is None else [row[kind] for row in rows]
    return [row[text] for row in rows], labels, column


def _cells(path):
    """The rows of a table, header and all, lists of strings; empty lines are none."""
    csv.field_size_limit(checks.MOST)  # no cell is too long
    text, has_tabs = read_text(path), path.lower().endswith(".tsv")
    dialect = "excel-tab" if has_tabs else "excel"
    rows, reader, begun = [], csv.reader(io.StringIO(text, newline=""), dialect, strict=True), 1
    # In most tables with tabs quotes are marks like any other.
    plain = csv.reader(io.StringIO(text, newline=""), dialect, quoting=csv.QUOTE_NONE)
    plain = [row for row in plain if row] if has_tabs and '"' in text else None
    try:
        for row in reader:
            rows += [row] if row else []
            begun = reader.line_num + 1
    except csv.Error as error:
        if plain:
            return plain
        raise ValueError(
            f"The file {path!r} is no table: {error}, in the row that begins in line {begun}. A cell "
            "that begins with a quote ends with one, and within it quotes are doubled."
        ) from error
    # A quote that opens one line and closes another makes one cell of all that is between them.
    if plain and any("\t" in cell or "\n" in cell for row in rows for cell in row):
        if len({len(row) for row in plain}) == 1 < len(plain[0]):
            return plain
    return rows


def _some(found, path, what):
    if not found:
        raise ValueError(f"The file {path!r} has no {what}.")
    return found
