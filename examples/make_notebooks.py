"""Turn the percent scripts of this folder into notebooks: `python examples/make_notebooks.py`.

Each notebook begins with badges that open it on Colab and Kaggle, and with a cell that installs the
library there. Scripts have neither: who runs them has a copy of the repository.
"""

import pathlib
import tomllib

import nbformat

FOLDER = pathlib.Path(__file__).parent
PROJECT = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
# Extras of pyproject.toml that each needs, and what else `pip install` is told.
NEEDS = {
    "characters": ("examples", ""),
    "digits": ("examples", ""),
    "hub_teacher": ("examples,hub", ""),
    "molecules": ("examples,molecules", "--no-deps molsets fcd-torch"),
    "number_of_steps": ("examples", ""),
    "proteins": ("examples", "olga"),
}
BADGES = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{place}) "
    "[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
    "(https://kaggle.com/kernels/welcome?src=https://github.com/{place})"
)
# Colab gives a notebook that asks for it a T4, where one is free.
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
INSTALL = """
# On Colab and Kaggle this installs the library; where it is there already it does nothing.
# `KERAS_DMMD` may be the address of a wheel.
import importlib.util
import os

backend = os.environ.setdefault("KERAS_BACKEND", "jax")  # or "torch", "tensorflow"
if importlib.util.find_spec("keras_dmmd") is None:
    source = os.environ.get("KERAS_DMMD", "git+{repository}")
    %pip install --quiet "keras-dmmd[{{backend}},{extras}] @ {{source}}"
"""


def head(name):
    """The two cells before those of the script: badges, and what installs the library."""
    extras, others = NEEDS[name]
    place = f"{REPOSITORY.removeprefix('https://github.com/')}/blob/main/examples/{name}.ipynb"
    install = INSTALL.format(repository=REPOSITORY, extras=extras).strip()
    if others:
        install += f"\n    %pip install --quiet {others}"
    return [
        nbformat.v4.new_markdown_cell(BADGES.format(place=place)),
        nbformat.v4.new_code_cell(install),
    ]


def notebook(name, script):
    """The notebook of a percent script, as a string that depends on the two alone."""
    book = nbformat.v4.new_notebook(metadata=METADATA)
    book.cells = head(name)
    for part in script.split("# %%")[1:]:
        first, _, body = part.partition("\n")
        body = body.strip("\n")
        if "[markdown]" in first:
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.splitlines()]
            text = "\n".join(lines).strip()
            # Pictures of this repository are seen on GitHub, Colab and Kaggle before anything has run.
            text = text.replace("](../", f"]({REPOSITORY}/raw/main/")
            book.cells.append(nbformat.v4.new_markdown_cell(text))
        else:
            book.cells.append(nbformat.v4.new_code_cell(body))
    for i, cell in enumerate(book.cells):
        cell["id"] = f"cell-{i}"
    return nbformat.writes(book) + "\n"


def percent_scripts():
    """The scripts of this folder that are written in cells."""
    return [path for path in sorted(FOLDER.glob("*.py")) if path.read_text().startswith("# %%")]


if __name__ == "__main__":
    for path in percent_scripts():
        path.with_suffix(".ipynb").write_text(notebook(path.stem, path.read_text()))
        print(path.with_suffix(".ipynb").name)
