"""The command line, on models and files that it makes itself."""

import json

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import cli

LENGTH = 8


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a small network over a to c and a space."""
    tokenizer = kd.tokenizers.CharacterTokenizer(" abc", end=True)
    keras.utils.set_random_seed(1)
    denoiser = kd.Denoiser(5, hidden_dim=8, num_layers=1, num_heads=2, cond_dim=4)
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(5), LENGTH, steps=4, tokenizer=tokenizer)
    folder = tmp_path_factory.mktemp("teacher")
    kd.presets.save_to_preset(model, folder, card={"task": "a to c"})
    return str(folder)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("abc cab\n" * 40)
    return str(tmp_path / "text.txt")


def run(*arguments):
    assert cli.main(list(map(str, arguments))) == 0


def test_info(teacher, capsys):
    run("info")
    assert "digits_masked_teacher" in capsys.readouterr().out.split()
    run("info", "digits_features")
    assert "for evaluate --reference or --features" in capsys.readouterr().out
    run("info", teacher)
    shown = capsys.readouterr().out
    assert "MaskedDiffusion" in shown and '"task": "a to c"' in shown and "parameters" in shown


def test_generate(teacher, tmp_path, capsys):
    run("generate", teacher, "-n", 3, "--prompt", "ab ", "--seed", 5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith("ab ") for line in lines)
    run("generate", teacher, "-n", 3, "--seed", 5, "--out", tmp_path / "ids.npy", "--temperature", 0.7)
    expected = kd.from_preset(teacher).generate(3, seed=5, temperature=0.7)
    np.testing.assert_array_equal(np.load(tmp_path / "ids.npy"), expected)
    run("generate", teacher, "-n", 3, "--seed", 5, "--out", tmp_path / "texts.txt", "--steps", 2)
    texts = kd.from_preset(teacher).tokenizer.decode(
        kd.from_preset(teacher).generate(3, seed=5, steps=2)
    )
    assert (tmp_path / "texts.txt").read_text().split("\n")[:-1] == texts


def test_distill_and_evaluate(teacher, text, tmp_path, capsys):
    student = tmp_path / "student"
    common = ["--data", text, "--lines"]
    run("distill", teacher, *common, "--steps", 2, "--rounds", 2, "--batch-size", 4, "--out", student)
    model = kd.from_preset(str(student))
    assert model.steps == 2 and model.capabilities.noise
    card = json.loads((student / "card.json").read_text())
    assert card["rounds"] == 2 and card["model"] == teacher
    report = tmp_path / "report"
    sweep = ["--steps", 1, 2, "--samples", 8, "--seeds", 0, 1, "--out", report]
    run("evaluate", teacher, student, *common, *sweep)
    shown = capsys.readouterr().out
    assert "unigram_entropy" in shown and "report.html" in shown
    rows = json.loads((report / "report.json").read_text())["rows"]
    assert [row["steps"] for row in rows] == [None, 1, 1, 2, 2]
    assert "repetition_4" in rows[0] and (report / "report.html").exists()


@pytest.mark.slow
def test_evaluate_with_features_and_with_a_reference(tmp_path, capsys):
    (digits, _), _ = kd.datasets.load_digits()
    np.save(tmp_path / "digits.npy", digits[:280])
    report = tmp_path / "digits"
    few = ["--steps", 1, "--samples", 70, "--seeds", 0, "--data", tmp_path / "digits.npy"]
    run("evaluate", "digits_masked_student", *few, "--features", "digits_features", "--out", report)
    settings = json.loads((report / "report.json").read_text())["settings"]
    assert any("digits_features" in name for name in settings["metrics"])
    assert "frechet_distance" in capsys.readouterr().out
    rows = np.random.default_rng(0).integers(0, 27, (8, 128))
    np.save(tmp_path / "letters.npy", rows)
    few = ["--steps", 1, "--samples", 4, "--seeds", 0, "--data", tmp_path / "letters.npy"]
    judge = ["--reference", "sotu_chars_reference", "--out", tmp_path / "letters"]
    run("evaluate", "sotu_chars_student", *few, *judge)
    shown = capsys.readouterr().out
    assert "bits_per_character" in shown and "centered" in shown


def test_data_as_ids(teacher, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, LENGTH), "int64"))
    model = kd.from_preset(teacher)
    rows = cli._data(str(tmp_path / "x.npy"), model, False)
    assert rows.shape == (4, LENGTH) and rows.dtype == np.int32


def test_what_goes_wrong_is_one_sentence(teacher, text, tmp_path, capsys):
    np.save(tmp_path / "wrong.npy", np.zeros((4, 3)))
    for arguments, message in (
        (["info", "nothing"], "'nothing'"),
        (["generate", "digits_masked_teacher", "--prompt", "a"], "no tokenizer"),
        (["generate", teacher, "--prompt", "xyz"], "symbol"),
        (["generate", teacher, "--temperature", "-1"], "temperature"),
        (["generate", teacher, "--sampler", "best"], "entropy_bound"),
        (["distill", teacher, "--data", "nowhere.txt", "--out", "o"], "nowhere.txt"),
        (["distill", teacher, "--data", str(tmp_path / "wrong.npy"), "--out", "o"], r"(n, 8)"),
        (["distill", "digits_masked_teacher", "--data", text, "--out", "o"], ".npy file of ids"),
        (["distill", teacher, "--data", text, "--rounds", "0", "--out", "o"], "--rounds must be"),
        (["evaluate", teacher, "--data", text, "--lines", "--out", "o"], "take at most"),
        (["evaluate", teacher, teacher, "--out", "o"], "different names"),
        (["evaluate", teacher, "--features", "digits_features", "--out", "o"], "give data too"),
        (
            ["evaluate", "digits_masked_teacher", "--reference", "sotu_chars_reference", "--out", "o"],
            "no tokenizer",
        ),
        (["evaluate", teacher, "--reference", "r", "--out", "o"], "no reference model"),
    ):
        assert cli.main(arguments) == 2
        printed = capsys.readouterr().err
        assert printed.startswith(f"keras-dmmd {arguments[0]}: ") and message in printed, printed


def test_help_teaches(capsys):
    for arguments in (["--help"], ["distill", "--help"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
        assert "examples:" in capsys.readouterr().out
