"""The command line, on models and files that it makes itself."""

import argparse
import csv
import json
import os
import pathlib
import shlex
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import cli
from keras_dmmd.backend.writers import WRITERS
from keras_dmmd.cli import commands, inputs
from keras_dmmd.exporting.formats import SUFFIXES
from keras_dmmd.fingerprints import array_hash, weights_hash
from keras_dmmd_command.messages import one_sentence
from tests.builders import ON_TORCH, tiny_model

LENGTH = 8
UNSAID = {"labels": None, "column": None, "label_column": None, "color": False}
ROOT = pathlib.Path(__file__).parent.parent
FORMAT = next(format for format in WRITERS if format != "onnx")


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


def test_info_of_a_model_of_ones_own(teacher, tmp_path, capsys):
    """Without a card, which nobody has to write."""
    model = kd.from_preset(teacher)
    kd.presets.save_to_preset(model, tmp_path / "preset")
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "saved", zipped=False)
    (tmp_path / "bare").mkdir()
    for name in ("config.json", "weights.npz"):
        (tmp_path / "bare" / name).write_bytes((tmp_path / "preset" / name).read_bytes())
    for name in ("preset", "model.keras", "saved", "bare"):
        run("info", tmp_path / name)
        shown = capsys.readouterr().out
        assert "MaskedDiffusion" in shown and "CharacterTokenizer" in shown and "{}" not in shown


def test_files_of_model_save(teacher, tmp_path, capsys):
    """What README ends with, and a distiller's, which stands for its student."""
    model = kd.from_preset(teacher)
    model.save(tmp_path / "model.keras")
    distiller = kd.DMMDDistiller(model.copy(), steps=2)
    distiller.compile()
    distiller.save(tmp_path / "distiller.keras")
    for name, source in (("model", model), ("distiller", distiller.student)):
        run("generate", tmp_path / f"{name}.keras", "-n", 2, "--out", tmp_path / "ids.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "ids.npy"), source.generate(2))
    (tmp_path / "x.weights.h5").write_text("weights")
    (tmp_path / "broken.keras").write_text("no zip")
    for name, message in (
        ("nowhere.keras", "no file"),
        ("x.weights.h5", "weights alone"),
        ("broken.keras", "damaged"),
    ):
        assert cli.main(["generate", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_a_file_with_a_hub_denoiser(tmp_path, monkeypatch, capsys):
    """In a process that has not heard of it yet."""
    models = pytest.importorskip("keras_hub").models
    from keras_dmmd.models.hub import HubDenoiser

    backbone = models.BertBackbone(5, 1, 2, 8, 16, max_sequence_length=LENGTH)
    model = kd.DiffusionModel(HubDenoiser(backbone), kd.MaskedDiffusion(5), length=LENGTH)
    model.save(tmp_path / "hub.keras")
    monkeypatch.delitem(sys.modules, "keras_dmmd.models.hub")
    monkeypatch.delitem(keras.saving.get_custom_objects(), "keras_dmmd>HubDenoiser")
    run("info", tmp_path / "hub.keras")
    assert "HubDenoiser" in capsys.readouterr().out


def test_generate(teacher, tmp_path, capsys):
    run("generate", teacher, "-n", 3, "--prompt", "ab ", "--seed", 5, "--max-length", LENGTH)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith("ab ") for line in lines)
    assert cli.main(["generate", str(teacher), "--length", "4", "--max-length", "3"]) == 2
    assert "both say how many tokens" in capsys.readouterr().err
    run("generate", teacher, "-n", 3, "--seed", 5, "--out", tmp_path / "ids.npy", "--temperature", 0.7)
    expected = kd.from_preset(teacher).generate(3, seed=5, temperature=0.7)
    np.testing.assert_array_equal(np.load(tmp_path / "ids.npy"), expected)
    run("generate", teacher, "-n", 3, "--seed", 5, "--out", tmp_path / "texts.txt", "--steps", 2)
    texts = kd.from_preset(teacher).tokenizer.decode(
        kd.from_preset(teacher).generate(3, seed=5, steps=2)
    )
    assert (tmp_path / "texts.txt").read_text().split("\n")[:-1] == texts
    # Its card repeats it, on a model that is the same.
    card = json.loads((tmp_path / "texts.txt.card.json").read_text())
    assert card["weights"] == weights_hash(kd.from_preset(teacher))
    before = (tmp_path / "texts.txt").read_bytes()
    (tmp_path / "texts.txt").unlink()
    run(*shlex.split(card["command"])[1:])
    assert (tmp_path / "texts.txt").read_bytes() == before
    again = json.loads((tmp_path / "texts.txt.card.json").read_text())
    assert again == card and card["settings"]["seed"] == 5 and card["settings"]["steps"] == 2
    assert card["machine"]["versions"]["keras"] == keras.__version__
    assert card["samples"] == array_hash(kd.from_preset(teacher).generate(3, seed=5, steps=2))


@ON_TORCH
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
    assert "unigram_entropy" in shown and "report.html" in shown and "\x1b" not in shown
    assert "cell 1 of 8: teacher" in shown and "cell 8 of 8: student, own, 2 steps" in shown
    rows = json.loads((report / "report.json").read_text())["rows"]
    assert [row["steps"] for row in rows] == [None, 1, 1, 2, 2]
    assert "repetition_4" in rows[0] and (report / "report.html").exists()
    card = json.loads((report / "card.json").read_text())
    assert card["command"].startswith(f"keras-dmmd evaluate {teacher}")
    assert card["weights"] == {
        pathlib.Path(teacher).name: weights_hash(kd.from_preset(teacher)),
        "student": weights_hash(model),
    }
    assert card["settings"]["seeds"] == [0, 1] and card["data"]["rows"] == 40


@pytest.mark.plain
def test_prompts_are_lines_and_endings_are_so_in_any_case(teacher, tmp_path, capsys):
    tokenizer = kd.tokenizers.CharacterTokenizer("ab\u2028", end=True)
    model = argparse.Namespace(tokenizer=tokenizer)
    (tmp_path / "p.txt").write_bytes("a\u2028b\r\n\r\nb\n".encode())
    args = argparse.Namespace(prompts=str(tmp_path / "p.txt"), prompt=None, n=None)
    n, found = inputs.prompts(args, model, 4)
    assert n == 2 and [tokenizer.decode(ids) for ids in found] == ["a\u2028b", "b"]
    run("generate", teacher, "-n", 2, "--steps", 1, "--out", tmp_path / "x.NPY")
    assert np.load(tmp_path / "x.NPY").shape == (2, LENGTH)
    for out, message in (("x.jpg", "must end in .png"), ("x.PNG", "makes no images")):
        assert cli.main(["generate", teacher, "--out", str(tmp_path / out)]) == 2
        assert message in capsys.readouterr().err


def test_gaps_and_separators(teacher, tmp_path, capsys):
    parts = ["--prompt", "ab", "--gap", 3, "--prompt", "ca"]
    run("generate", teacher, *parts, "-n", 2, "--separator", r"|\n", "--out", tmp_path / "t.txt")
    first, second = (tmp_path / "t.txt").read_text().removesuffix("\n").split("|\n")
    for text in (first, second):
        assert text.startswith("ab") and text[5:7] == "ca"
    run("generate", teacher, "--gap", 6, "--prompt", "ab", "-n", 2)
    assert all(line.endswith("ab") for line in capsys.readouterr().out.splitlines())
    for wrong in ("0", "x"):
        with pytest.raises(SystemExit):
            cli.main(["generate", teacher, "--gap", wrong])
        assert "number of tokens" in capsys.readouterr().err


def test_what_divides_texts(teacher, tmp_path):
    """As `load_text` and `pack` take it; the end token closes a text."""
    model = kd.from_preset(teacher)
    (tmp_path / "t.txt").write_text("abc\ncab\n\nbb\n\nc")
    chosen = {"data": str(tmp_path / "t.txt"), **UNSAID}

    def texts(separator=None, whole=False, lines=False):
        args = argparse.Namespace(**chosen, separator=separator, whole=whole, lines=lines)
        return [row.tolist() for row in inputs.rows(args, model)[0]]

    with pytest.raises(ValueError, match="symbol"):  # a line break, which this vocabulary lacks
        texts("\n\n")
    end, a, b, c = 4, 1, 2, 3
    bb, single = [b, b] + [end] * 6, [c] + [end] * 7
    assert texts(lines=True) == [[a, b, c] + [end] * 5, [c, a, b] + [end] * 5, bb, single]
    assert texts("\n", whole=True) == texts(lines=True)
    assert texts("\n") == [[a, b, c, end, c, a, b, end]]  # the rest is less than a row
    with pytest.raises(ValueError, match="one or the other"):
        texts("\n", lines=True)


@pytest.fixture
def classes(tmp_path):
    """A model of two classes as a file, ids and their classes."""
    keras.utils.set_random_seed(1)
    denoiser = kd.Denoiser(3, num_classes=2, hidden_dim=8, num_layers=1, num_heads=2, cond_dim=4)
    kd.DiffusionModel(denoiser, kd.MaskedDiffusion(3), 5).save(tmp_path / "classes.keras")
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 3, (40, 5)))
    np.save(tmp_path / "labels.npy", np.arange(40) % 2)
    return [
        tmp_path / "classes.keras",
        "--data",
        tmp_path / "ids.npy",
        "--labels",
        tmp_path / "labels.npy",
    ]


@ON_TORCH
def test_classes_and_guidance(classes, tmp_path, monkeypatch, capsys):
    model = keras.saving.load_model(classes[0])
    guided = ["--label", 1, "--guidance", 2.0, "--out", tmp_path / "g.npy"]
    run("generate", classes[0], "-n", 3, "--steps", 2, *guided)
    expected = model.generate(3, steps=2, labels=1, guidance_scale=2.0)
    np.testing.assert_array_equal(np.load(tmp_path / "g.npy"), expected)
    given = []
    monkeypatch.setattr(kd.DMMDDistiller, "fit", lambda *args, **kwargs: given.extend(args))
    run("distill", *classes, "--guidance", 2, "--out", tmp_path / "student")
    distiller, _, labels = given
    assert distiller.guidance_scale == 2 and labels.tolist() == [0, 1] * 20
    assert json.loads((tmp_path / "student" / "card.json").read_text())["guidance"] == 2
    sweep = ["--steps", 1, "--samples", 5, "--seeds", 0, "--label", 1, "--out", tmp_path / "report"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run("evaluate", *classes, *sweep)
    assert "data" in capsys.readouterr().out
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run("evaluate", *classes[:3], *sweep[:-1], tmp_path / "other")
    assert "--labels or --label-column say of which class a row is" in capsys.readouterr().err
    np.save(tmp_path / "few.npy", np.arange(3) % 2)
    np.save(tmp_path / "other.npy", np.arange(40))
    for arguments, message in (
        (["distill", *classes[:3], "--guidance", 2, "--out", "o"], "--labels"),
        (["distill", *classes[:4], tmp_path / "few.npy", "--out", "o"], "3 labels for 40 rows"),
        (["distill", *classes[:4], tmp_path / "other.npy", "--out", "o"], "0 to 1"),
        (["distill", *classes, "--lines", "--out", "o"], "not for a .npy file"),
        (["evaluate", *classes, "--samples", 5, "--out", "o"], "--label"),
        (["evaluate", *classes, "--samples", 5, "--label", 2, "--out", "o"], "a number from 0 to 1"),
        (["generate", classes[0], "--label", 2], "--label must be a number from 0 to 1. Received"),
        (["evaluate", *classes, "--samples", 11, "--label", 1, "--out", "o"], "20 rows"),
    ):
        assert cli.main(list(map(str, arguments))) == 2
        assert message in capsys.readouterr().err


def test_a_label_is_the_same_class_of_every_model(teacher, tmp_path, capsys):
    for name, order in (("a", ["x", "y"]), ("b", ["y", "x"])):
        model = tiny_model(num_classes=2)
        kd.presets.save_to_preset(model, tmp_path / name, card={"reading": {"classes": order}})
    words = ["evaluate", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "o", "--label"]
    assert cli.main([*map(str, words), "y"]) == 2
    assert "same number in all models" in (said := capsys.readouterr().err) and "'a': 1, 'b': 0" in said
    assert cli.main([*map(str, [words[0], words[1], teacher, *words[3:]]), "y"]) == 2
    assert "This model has no classes" in capsys.readouterr().err


def test_where_nothing_can_be_written_no_work_is_done(teacher, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kd.DMMDDistiller, "fit", lambda *args, **kwargs: pytest.fail("trained"))
    monkeypatch.setattr(kd.DiffusionModel, "generate", lambda *args, **kwargs: pytest.fail("sampled"))
    (tmp_path / "file").write_text("a file")
    inside, data = tmp_path / "file" / "student", ["--data", text, "--lines"]
    for arguments, message in (
        (["distill", teacher, *data, "--out", tmp_path / "file"], "Nothing can be written"),
        (["distill", teacher, *data, "--out", inside], "Nothing can be written"),
        (["generate", teacher, "--out", inside], "Nothing can be written"),
        (["generate", teacher, "--out", tmp_path], "is a folder"),
        (["evaluate", teacher, *data, "--samples", 4, "--out", inside], "file"),
    ):
        assert cli.main(list(map(str, arguments))) == 2
        assert message in capsys.readouterr().err


@pytest.mark.plain
def test_what_is_there_is_not_overwritten(teacher, text, tmp_path, monkeypatch, capsys):
    """Nor does a report take a model's card, nor anything a place among the data."""
    monkeypatch.setattr(kd.DiffusionModel, "fit", lambda *args, **kwargs: pytest.fail("trained"))
    before = weights_hash(kd.from_preset(teacher))
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "card.json").write_text("{}")
    data, inside = tmp_path, tmp_path / "new" / "out"
    for arguments, message in (
        (["train", text, "--out", teacher], "holds a finished model"),
        (["distill", teacher, "--data", text, "--out", teacher], "holds a finished model"),
        (["distill", teacher, "--data", text, "--out", tmp_path / "report"], "another command wrote"),
        (["evaluate", teacher, "--data", text, "--out", teacher], "is the folder of a model"),
        (["train", data, "--out", inside], "would be read as data"),
        (["distill", teacher, "--data", data, "--out", data], "would be read as data"),
        (["evaluate", teacher, "--data", data, "--out", inside], "would be read as data"),
    ):
        assert cli.main(list(map(str, arguments))) == 2
        assert message in capsys.readouterr().err
    assert weights_hash(kd.from_preset(teacher)) == before
    assert kd.presets.read_card(teacher)["task"] == "a to c"


@pytest.mark.plain
def test_what_fails_leaves_no_empty_folders(teacher, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    new = "there/a/b"
    for arguments in (
        ["train", text, "--length", "0", "--out", new],
        ["distill", teacher, "--data", "nowhere", "--out", new],
        ["evaluate", teacher, "--data", "nowhere", "--out", new],
        ["generate", teacher, "--temperature", "-1", "--out", f"{new}/x", "--trajectory", "c/t.html"],
        ["export", teacher, "--temperature", "-1", "--out", f"{new}/x{SUFFIXES[FORMAT]}"],
    ):
        assert cli.main(arguments) == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt", "there"]
        assert list((tmp_path / "there").iterdir()) == []


@ON_TORCH
def test_a_distillation_goes_on(teacher, text, tmp_path, monkeypatch, capsys):
    """After Ctrl-C from the last epoch, after a full disk with nothing left but to save."""
    monkeypatch.setattr(commands, "ROUNDS_PER_EPOCH", 2)
    begun, trained, out = [], [], tmp_path / "out"
    command = ["distill", teacher, "--data", text, "--lines", "--rounds", 6, "--batch-size", 4]
    command = list(map(str, [*command, "--out", out]))

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            begun.append(epoch)
            if len(begun) == 2:
                raise KeyboardInterrupt

    fit = kd.DMMDDistiller.fit

    def watched(distiller, *args, callbacks, **kwargs):
        trained.append(distiller)
        return fit(distiller, *args, callbacks=[*callbacks, Watch()], **kwargs)

    monkeypatch.setattr(kd.DMMDDistiller, "fit", watched)
    assert cli.main(command) == 130 and begun == [0, 1]
    shown = capsys.readouterr()
    assert "round 2 of 6: student loss" in shown.out and "minutes left" in shown.out
    assert "\x1b" not in shown.out + shown.err  # a bar is for a terminal
    assert "interrupted" in shown.err and not (out / "config.json").exists()
    other = [part.replace("6", "8") if part == "6" else part for part in command]
    assert cli.main(other) == 2
    assert "other rounds" in capsys.readouterr().err
    assert cli.main([*command, "--learning-rate", "0"]) == 2
    assert "`--learning-rate` must be" in capsys.readouterr().err

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(np, "savez_compressed", full)
        assert cli.main(command) == 2 and begun == [0, 1, 1, 2]
    assert "No space left" in capsys.readouterr().err
    run(*command)
    assert begun == [0, 1, 1, 2]
    assert cli.main(command) == 2 and len(trained) == 3
    assert "holds a finished model" in capsys.readouterr().err
    with open(out / "training.csv", newline="") as file:
        log = list(csv.DictReader(file))
    assert [row["round"] for row in log] == ["2", "4", "6"] and float(log[2]["critic_loss"]) > 0
    samples = (out / "samples.txt").read_text().split("\n")[:-1]
    assert samples[0] == "round 2" and samples[-3] == "round 6"
    wrote = ["card.json", "config.json", "samples.txt", "training.csv", "weights.npz"]
    assert sorted(path.name for path in out.iterdir()) == wrote
    # The average over the run, as it was where nothing could be saved.
    saved, before = (m.get_weights() for m in (kd.from_preset(str(out)), trained[1].student))
    assert len(trained) == 3
    for a, b in zip(saved, before, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)  # half precision


@ON_TORCH
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
    args = argparse.Namespace(
        data=str(tmp_path / "x.npy"), separator=None, whole=False, lines=False, **UNSAID
    )
    rows, labels = inputs.rows(args, model)
    assert labels is None
    assert rows.shape == (4, LENGTH) and rows.dtype == np.int32


@pytest.mark.plain
def test_what_goes_wrong_is_one_sentence(teacher, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = ["--data", text, "--lines"]
    nowhere = ["--data", "nowhere.txt", "--out", "o"]
    (tmp_path / "few.txt").write_text("a\nb\nc")
    (tmp_path / "one.txt").write_text("abc")
    (tmp_path / "other.txt").write_text("Others wrote this.")
    np.save(tmp_path / "d.npy", np.zeros((4, 64), int))
    np.save(tmp_path / "wrong.npy", np.zeros((4, 3)))
    for arguments, message in (
        (["info", "nothing"], "'nothing'"),
        (["generate", "digits_masked_teacher", "--prompt", "a"], "no tokenizer"),
        (["generate", teacher, "--prompt", "xyz"], "symbol"),
        (["generate", teacher, "--temperature", "-1"], "temperature"),
        (["generate", teacher, "--sampler", "best"], "entropy_bound"),
        (["distill", teacher, *nowhere], "nowhere.txt"),
        (["distill", teacher, "--data", str(tmp_path / "wrong.npy"), "--out", "o"], r"(n, 8)"),
        (["distill", "digits_masked_teacher", "--data", text, "--out", "o"], ".npy file of ids"),
        (["distill", teacher, "--data", text, "--rounds", "0", "--out", "o"], "`--rounds` must be"),
        (["distill", teacher, *nowhere, "--temperature", "0"], "`--temperature` must be"),
        (["distill", teacher, *nowhere, "--top-p", "2"], "`--top-p` must be"),
        (["evaluate", teacher, *data, "--samples", "11", "--out", "o"], "take at most 10 samples"),
        (["evaluate", teacher, teacher, "--out", "o"], "different names"),
        (["evaluate", teacher, "--features", "digits_features", "--out", "o"], "give `--data` too"),
        (["evaluate", teacher, "--out", "o"], "give `--data` or a `--reference`"),
        (["evaluate", teacher, *data, "--features", "no", "--out", "o"], "--features must be"),
        (["evaluate", teacher, "--steps", "0", "--out", "o"], "`--steps` must be"),
        (["evaluate", teacher, *data, "--samplers", "best", "--out", "o"], "`--samplers` must be one"),
        (["evaluate", teacher, *data, "--top-p", "2", "--out", "o"], "`--top-p` must be"),
        (["evaluate", teacher, *data, "--label", "9", "--out", "o"], "has no classes"),
        (
            ["evaluate", teacher, "--data", "few.txt", "--lines", "--out", "o"],
            "has 3 row(s) for these samples: too few",
        ),
        (["evaluate", teacher, *data, "--out", text], "Nothing can be written in the folder"),
        (["generate", teacher, "--guidance", "2"], "`--guidance` strengthens `--label`"),
        (["generate", teacher, "-n", "0"], "`-n` must be"),
        (["distill", teacher, *data, "--guidance", "2", "--out", "o"], "This model has no classes"),
        (["distill", teacher, *data, "--steps", "-1", "--out", "o"], "`--steps` must be"),
        (["distill", teacher, *data, "--seed", "-1", "--out", "o"], "`--seed` must be"),
        (["distill", "digits_masked_student", *data, "--out", "o"], "must be a folder of images or a"),
        (
            ["distill", teacher, "--data", "other.txt", "--out", "o"],
            "other.txt is not like what",
        ),
        (["distill", teacher, "--data", "one.txt", "--out", "o"], "row of the model, 8."),
        (["distill", "digits_masked_student", "--data", "d.npy", "--out", "o"], "a student already"),
        (
            ["evaluate", "digits_masked_teacher", "--reference", "sotu_chars_reference", "--out", "o"],
            "no tokenizer",
        ),
        (["evaluate", teacher, "--reference", "r", "--out", "o"], "no reference model"),
    ):
        assert cli.main(arguments) == 2
        printed = capsys.readouterr().err
        assert printed.startswith(f"keras-dmmd {arguments[0]}: ") and message in printed, printed
    assert not (tmp_path / "o").exists()


@pytest.mark.plain
def test_arguments_are_named_as_options():
    args = argparse.Namespace(command="export", run="", line="", model="m", out="o", kind="step", n=1)
    args.guidance, args.top_p, args.int8 = None, None, False
    for said, expected in (
        ('export `kind="sampler"`, or', "export `--kind sampler`, or"),
        ("`guidance_scale`\n and `top_p=2`", "`--guidance` and `--top-p 2`"),
        ("`n` of `path` or `model` or `other`", "`-n` of `--out` or `model` or `other`"),
        ('with `weights="int8"`.', "with `--int8`."),
        ("", "ValueError"),
    ):
        assert one_sentence(ValueError(said), args) == expected
    args = argparse.Namespace(command="evaluate", temperatures=[1], labels=None, label=None, data="d")
    assert one_sentence(ValueError("`temperature`, `labels`"), args) == "`--temperatures`, `--label`"


def test_help_teaches(capsys):
    for arguments in (["--help"], ["distill", "--help"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
        assert "examples:" in capsys.readouterr().out


@pytest.mark.plain
def test_a_terminal_that_cannot_show_it_and_one_that_stops_reading():
    """Neither is an error of ours: `LC_ALL=C`, and `| head`."""
    code = (
        "import sys, types\n"
        "import keras_dmmd_command as command\n"
        "module = sys.modules['stand_in'] = types.ModuleType('stand_in')\n"
        "module.run = lambda args: print('caf\u00e9\\n' * int(sys.argv[1]))\n"
        "args = types.SimpleNamespace(run='stand_in:run', command='info')\n"
        "command.parser = lambda: types.SimpleNamespace(parse_args=lambda argv: args)\n"
        "sys.exit(command.main([]))"
    )
    for times, status in ((2, 0), (100_000, 141)):
        done = subprocess.Popen(
            [sys.executable, "-c", code, str(times)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
        shown = done.stdout.readline()
        if status == 0:
            assert done.stdout.read() == shown + b"\n"
        done.stdout.close()
        assert shown == b"caf\\xe9\n" and done.wait() == status and done.stderr.read() == b""
        done.stderr.close()


@pytest.mark.plain
def test_help_needs_no_keras():
    """So that it is there at once; and what is mistyped is one line."""
    code = (
        "import sys\nfrom keras_dmmd_command import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    heavy = {'keras', 'numpy', 'keras_dmmd'} & set(sys.modules)\n"
        "    print('heavy:', *heavy)"
    )
    for arguments, status in ((["--help"], 0), (["evaluate", "--help"], 0), (["generate"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == status and done.stdout.endswith("heavy:\n"), done.stdout
        assert len(done.stderr.splitlines()) == (status > 0), done.stderr


def test_export(teacher, tmp_path, capsys):
    path = tmp_path / f"prior{SUFFIXES[FORMAT]}"
    run("export", teacher, "--out", path, "--kind", "prior", "--steps", 2, "--int8")
    assert str(path) in capsys.readouterr().out and path.exists()
    assert json.loads(path.with_name(path.name + ".json").read_text())["times"] == [1.0, 0.5, 0.0]
    card = json.loads(path.with_name(path.name + ".card.json").read_text())
    assert shlex.split(card["command"])[:3] == ["keras-dmmd", "export", teacher]
    assert card["settings"]["kind"] == "prior" and card["settings"]["int8"]
    assert card["weights"] == weights_hash(kd.from_preset(teacher))  # before they became integers
    assert card["machine"]["backend"] == keras.backend.backend()
    assert cli.main(["export", teacher, "--out", str(tmp_path / "model.h5")]) == 2
    assert "`--out` must end in .onnx" in capsys.readouterr().err
