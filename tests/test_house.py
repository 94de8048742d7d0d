"""How the code is laid out: no circles, short files, one place that asks which backend runs."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "keras_dmmd"
pytestmark = pytest.mark.plain


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(path): path
    for package in (PACKAGE, ROOT / "keras_dmmd_command")
    for path in sorted(package.rglob("*.py"))
}


def imports(path):
    """Every module of the package that a file imports, also within functions.

    `from package import name` is an import of the module `package.name` where there is one.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else node.module)
    return {name for name in found if name in FILES}


def test_imports_have_no_circle():
    graph = {name: imports(path) - {name} for name, path in FILES.items()}
    # The top level and the command are faces of everything, and nothing may import them.
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(" → ".join([*path[path.index(name) :], name]))
        if name not in done:
            path.append(name)
            for other in sorted(graph[name]):
                visit(other)
            path.pop()
            done.add(name)

    for name in graph:
        visit(name)
    importers = [name for name, others in graph.items() if "keras_dmmd" in others]
    assert importers == []


def test_files_are_short():
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: n for name, n in lengths.items() if n > 350} == {}


def test_only_the_backend_asks_which_backend_runs():
    asking = {
        name
        for name, path in FILES.items()
        if "backend.backend()" in path.read_text() and not name.startswith("keras_dmmd.backend")
    }
    # What a report writes down, and what a file of fingerprints is named by.
    assert asking == {"keras_dmmd.evaluation.machine"}


def test_a_denoiser_is_asked_what_it_can_do_in_one_place():
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
                asked = ast.unparse(node.args[0])
                if "denoiser" in asked:
                    assert name == "keras_dmmd.models.capabilities", f"{name}: {ast.unparse(node)}"
