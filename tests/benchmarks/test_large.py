"""Benchmarks of large vocabularies run, small."""

import json

from benchmarks import large, minilm, others, precision, rows
from tests.builders import ON_TORCH

SIZE = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "cond_dim": 4}


@ON_TORCH
def test_each_job_of_a_large_network(tmp_path):
    arguments = ["--words", "2100", "--length", "4", "--steps", "2", "--size", json.dumps(SIZE)]
    found = large.main([*arguments, "--jobs", "distil", "sample", "--path", str(tmp_path)])
    assert [row["job"] for row in found] == ["distil", "sample"]
    assert all(0.1 < row["peak GiB"] < 4.0 and row["seconds"] >= 0.0 for row in found)


@ON_TORCH
def test_memory_of_many_rows(tmp_path):
    arguments = ["--words", "2100", "--length", "4", "--steps", "1", "--samples", "2", "40"]
    found = rows.main([*arguments, "--path", str(tmp_path)])
    assert [row["samples"] for row in found] == [2, 40]
    assert found[0]["more MiB"] == 0.0


@ON_TORCH
def test_a_round_of_minilm(tmp_path):
    size = {**minilm.MINI_LM, "vocabulary_size": 2100, "num_layers": 1, "hidden_dim": 8}
    size |= {"num_heads": 2, "intermediate_dim": 8, "max_sequence_length": 32}
    found = minilm.main(["--rows", "2", "--repeats", "1", "--path", str(tmp_path)], size)
    assert [row["round"] for row in found] == [*minilm.WAYS, minilm.PRODUCTS]
    assert all(row["ratio"] > 0.0 for row in found)


@ON_TORCH
def test_students_in_half_precision_go_on_where_they_were(tmp_path):
    arguments = ["--rounds", "1", "--batch-size", "4", "--samples", "40", "--seeds", "1"]
    arguments += ["--kinds", "mixed_bfloat16", "--folder", str(tmp_path), "--path", str(tmp_path)]
    (row,) = precision.main(arguments)
    assert row["seeds"] == 1 and row["frechet"] > 0.0
    (path,) = tmp_path.glob("mixed_bfloat16*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "frechet": -1.0}))
    assert precision.main(arguments)[0]["frechet"] == -1.0  # it was read


@ON_TORCH
def test_samplers_to_compare_with(tmp_path):
    """Without the other libraries: the network, and that none is asked for by mistake."""
    model = others.network(5, 4, SIZE)
    assert model.generate(2, steps=2, seed=0, verbose=0).shape == (2, 4)
    found = others.main(["--words", "5", "--libraries", "--path", str(tmp_path)])
    assert found == []
