"""Turn the percent scripts of this folder into notebooks: `python examples/make_notebooks.py`."""

import pathlib

import nbformat

FOLDER = pathlib.Path(__file__).parent


def notebook(script):
    """The notebook of a percent script, as a string that depends on the script alone."""
    book = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python"}})
    for i, part in enumerate(script.split("# %%")[1:]):
        first, _, body = part.partition("\n")
        body = body.strip("\n")
        if "[markdown]" in first:
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.splitlines()]
            cell = nbformat.v4.new_markdown_cell("\n".join(lines).strip())
        else:
            cell = nbformat.v4.new_code_cell(body)
        cell["id"] = f"cell-{i}"
        book.cells.append(cell)
    return nbformat.writes(book) + "\n"


def percent_scripts():
    """The scripts of this folder that are written in cells."""
    return [path for path in sorted(FOLDER.glob("*.py")) if path.read_text().startswith("# %%")]


if __name__ == "__main__":
    for path in percent_scripts():
        path.with_suffix(".ipynb").write_text(notebook(path.read_text()))
        print(path.with_suffix(".ipynb").name)
