"""The pages of this folder as a site: `make docs`, or `python docs/make_site.py [folder]`.

The pages are written to be read in the repository, too. They are copied to `build/docs/source`, where
formulas (`$`x`$` and fences of `math`, as GitHub has them) become MathML, links out of this folder lead
to the repository, figures of the course are drawn and a reference is written of what the package
exports; Zensical then makes `build/docs/site` of them and accepts no warning. Beside them stands the
page with networks inside, which `examples/demo.py` makes with Torch and npm. A reader's browser fetches
nothing from elsewhere.
"""

import argparse
import ast
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

from latex2mathml.converter import convert

DOCS = pathlib.Path(__file__).resolve().parent
ROOT = DOCS.parent
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
# Modules whose names are public, a page each.
MODULES = (
    "keras_dmmd",
    "keras_dmmd.callbacks",
    "keras_dmmd.conversion",
    "keras_dmmd.datasets",
    "keras_dmmd.distribution",
    "keras_dmmd.evaluation",
    "keras_dmmd.losses",
    "keras_dmmd.metrics",
    "keras_dmmd.models",
    "keras_dmmd.models.diffusion_gemma",
    "keras_dmmd.models.hub",
    "keras_dmmd.presets",
    "keras_dmmd.random",
    "keras_dmmd.samplers",
    "keras_dmmd.schedules",
    "keras_dmmd.tokenizers",
)
# What stands before every example of a docstring.
IMPORTS = """
import pathlib

import keras
import keras_hub  # where its models take part
import numpy as np

import keras_dmmd as kd
import keras_dmmd.models.hub  # where KerasHub's models take part
"""
DEMO = ROOT / "runs" / "demo" / "demo.html"
COPIED = {".md", ".png", ".svg", ".gif", ".json", ".html", ".csv", ".css"}
FENCES = re.compile(r"(^```.*?^```\n?)", flags=re.S | re.M)


def source_of(module):
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def public_names(module):
    """Names that a module exports by `import x as x`, or defines, but for other `MODULES`."""
    names = []
    for node in ast.parse(source_of(module).read_text()).body:
        if isinstance(node, ast.ImportFrom):
            exported = [alias.name for alias in node.names if alias.name == alias.asname]
            names += [name for name in exported if f"{module}.{name}" not in MODULES]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
    return sorted((name for name in names if not name.startswith("_")), key=str.lower)


def write_reference(folder):
    """A page per module, of its docstrings; returns the pages' paths from the folder of pages."""
    (folder / "reference").mkdir()
    pages = []
    for module in MODULES:
        docstring = ast.get_docstring(ast.parse(source_of(module).read_text())) or ""
        entries = [f"::: {module}.{name}\n" for name in public_names(module)]
        before = f"Examples come after these lines:\n\n```python{IMPORTS}```"
        text = "\n".join([f"# {module}\n", docstring, "", before, "", *entries])
        page = folder / "reference" / f"{module}.md"
        page.write_text(text)
        pages.append(f"reference/{page.name}")
    return pages


def mathml(text, block=False):
    """A formula in TeX, as an element that is no HTML block of its own unless it stands alone."""
    tag = "div" if block else "span"
    formula = convert(text.strip(), display="block" if block else "inline")
    return f'<{tag} class="math">{formula}</{tag}>'


def formulas(text):
    parts = FENCES.split(text)
    for i, part in enumerate(parts):
        if part.startswith("```math"):
            parts[i] = mathml(part.removeprefix("```math").rstrip().removesuffix("```"), True) + "\n"
        elif part.startswith("```python notest"):  # what follows the language is for the tests
            parts[i] = part.replace(" notest", "", 1)
        elif not part.startswith("```"):
            parts[i] = re.sub(r"\$`([^`]+)`\$", lambda match: mathml(match[1]), part)
    return "".join(parts)


def links(text, page):
    """Links to files outside of this folder, and to folders, as links into the repository."""

    def link(match):
        target, anchor = match[1], match[2] or ""
        path = (page.parent / target).resolve()
        if path.parent == DOCS / "reference" or path == DOCS / "demo.html":  # which are written here
            return match[0]
        if not path.exists():
            raise FileNotFoundError(f"{page.relative_to(ROOT)} links to {target}, which is not there")
        if path.is_relative_to(DOCS) and path.is_file() and path.suffix in COPIED:
            return match[0]
        kind = "blob" if path.is_file() else "tree"
        return f"]({REPOSITORY}/{kind}/main/{path.relative_to(ROOT)}{anchor})"

    parts = FENCES.split(text)
    pattern = r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)"
    parts = [part if part.startswith("```") else re.sub(pattern, link, part) for part in parts]
    return "".join(parts)


def stage(folder):
    """Fill `folder/source` and write `folder/zensical.toml`."""
    source = folder / "source"
    if source.exists():
        shutil.rmtree(source)
    for path in sorted(DOCS.rglob("*")):
        if path.suffix in COPIED:
            copy = source / path.relative_to(DOCS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                copy.write_text(formulas(links(path.read_text(), path)))
            else:
                shutil.copy(path, copy)
    pages = write_reference(source)
    config = (DOCS / "zensical.toml").read_text()
    named = [f'{{ "{pathlib.Path(page).stem}" = "{page}" }}' for page in pages]
    (folder / "zensical.toml").write_text(config.replace('"REFERENCE"', f"[{', '.join(named)}]"))
    return source


def draw(source):
    """The figures of the course, of runs by the scripts as they are now."""
    sys.path.insert(0, str(DOCS / "course"))
    figures = importlib.import_module("figures")
    if figures.measured() is None:
        subprocess.run([sys.executable, figures.RUNS], check=True)
    found = figures.measured()
    figures.draw(found, source / "course")
    library = importlib.import_module("library").digest()
    for part, run in found.items():
        if run["library"] != library:
            print(
                f"The course's figures of {part} are of an earlier library: {figures.RUNS.name} {part}"
            )


def make(folder, demo):
    """Make the site; returns its folder.

    Args:
        folder: of its source and itself.
        demo: the page that `examples/demo.py` made.

    Raises:
        FileNotFoundError: a link leads nowhere, or there is no such page.
        RuntimeError: Zensical warned of something.
    """
    folder = pathlib.Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not pathlib.Path(demo).exists():
        raise FileNotFoundError(f"{demo} is not there: KERAS_BACKEND=torch python examples/demo.py")
    source = stage(folder)
    shutil.copy(demo, source / "demo.html")
    draw(source)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(
        [*command, "--config-file", folder / "zensical.toml"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
    )
    if done.returncode:
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        raise RuntimeError(f"The pages are not right:\n{said}")
    return folder / "site"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", default=ROOT / "build" / "docs", type=pathlib.Path)
    parser.add_argument("--demo", default=DEMO, type=pathlib.Path, help="what examples/demo.py made")
    args = parser.parse_args()
    print(make(args.folder, args.demo) / "index.html")
