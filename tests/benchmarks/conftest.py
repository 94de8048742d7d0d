import pathlib

import pytest


@pytest.fixture(autouse=True)
def neighbours(monkeypatch):
    """The scripts import each other by name, as when they are run."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))
