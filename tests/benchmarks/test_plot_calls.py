from benchmarks import plot_calls
from tests.builders import ON_TORCH


@ON_TORCH
def test_the_picture_of_the_committed_results(tmp_path):
    plot_calls.main(["--out", str(tmp_path / "calls.png")])
    assert (tmp_path / "calls.png").stat().st_size > 20_000
