"""Changed files load or are refused; and what would be unclear is seen as such."""

import os
import re
import sys

import numpy as np
import pytest

from benchmarks import fuzz_files
from benchmarks.fuzz_loader import Loader
from tests.builders import ON_TORCH

pytest.importorskip("tokenizers")


def arguments(folder, count=8, **options):
    """Of a small run, without a limit of time: a test shares its machine."""
    options = {"count": count, "seed": 0, "seconds": 1000, "keep": folder / "kept", **options}
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


@ON_TORCH
@pytest.mark.slow
def test_a_small_run(tmp_path, capsys):
    assert fuzz_files.main(arguments(tmp_path, count=40), loader=Loader) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    loads, refused, unclear = next(map(int, line[1:]) for line in lines if line[:1] == ["all"])
    assert loads > 0 and refused > 10 and unclear == 0 and loads + refused == 40
    assert not (tmp_path / "kept").exists()


class Careless(Loader):
    """Runs what it finds, takes memory, and raises what names no file."""

    way = None

    def _preset(self, path):
        if "changed" in path and self.way == "runs":
            os.mkdir(self.canary)
        elif "changed" in path and self.way == "memory":
            np.ones(40_000_000)
        elif "changed" in path:
            raise self.way

    _network = _checkpoint = _tokenizer = _preset


@pytest.mark.plain
@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("runs", "EXECUTED"),
        ("memory", r"3\d\d MB for"),
        (ValueError("without a name"), "ValueError: without a name"),
        (KeyError("x"), "KeyError"),
        (MemoryError(), "MemoryError"),
        (RecursionError(), "RecursionError"),
    ],
)
def test_what_is_unclear_is_seen(way, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Careless, "way", way)
    run = arguments(tmp_path, count=2, only="tokenizer.json")
    assert fuzz_files.main(run, loader=Careless) == 1
    out = capsys.readouterr().out
    assert out.count("unclear, case") == 2 and "2 of 2 files are unclear" in out
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == ["0", "1"]
    assert re.search(message, out)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("program", "message"), [("exit 3", "died with status 3"), ("sleep 60", "hung")]
)
def test_a_process_that_dies_or_hangs(program, message, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(fuzz_files, "PATIENCE", 0.5)
    child = fuzz_files.Child(str(tmp_path / "canary"))
    found = child.load("preset", "x")
    assert found["outcome"] == "unclear" and message in found["error"]
