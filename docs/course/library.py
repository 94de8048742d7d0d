"""Which library the runs of the course are of: a digest of the code that decides what they give."""

import ast
import hashlib
import pathlib

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "keras_dmmd"
# Not what reads data, draws, writes files or judges texts; nor networks that take no part.
PARTS = (
    *("backend", "diffusion", "distillation", "losses", "models", "random", "samplers", "sampling"),
    *("training", "vocabulary", "callbacks.py", "conditions.py", "schedules.py", "tensors.py"),
)
OTHERS = {
    "models/hub.py",
    "models/diffusion_gemma.py",
    "models/block_denoiser.py",
    "training/export.py",
}


def digest(package=PACKAGE):
    """A short hash of what the library does, whatever its comments and docstrings say."""
    found = hashlib.sha256()
    for part in PARTS:
        path = package / part
        for file in [path] if path.is_file() else sorted(path.glob("*.py")):
            name = file.relative_to(package).as_posix()
            if name not in OTHERS:
                found.update(f"{name}\n{_code(file.read_text())}\n".encode())
    return found.hexdigest()[:16]


def _code(text):
    tree = ast.parse(text)
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.unparse(tree)
