"""`keras-dmmd generate`: prompts of a file, pictures, and how samples came to be; `doctor`."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import cli
from keras_dmmd.cli import denoising, pictures, selftest
from keras_dmmd_command import doctor
from tests.builders import ON_TORCH, SMALL

LENGTH = 6


@pytest.fixture(scope="module")
def writer():
    """A model over a, b, < and an end, ids 0 to 3; 4 is the mask."""
    tokenizer = kd.tokenizers.CharacterTokenizer("ab<", end=True)
    model = kd.DiffusionModel(
        kd.Denoiser(4, **SMALL), kd.MaskedDiffusion(4), LENGTH, steps=2, tokenizer=tokenizer
    )
    model.build()
    return model


@pytest.fixture(scope="module")
def painter():
    """A model of images of 2 × 3 pixels and 3 grey levels."""
    denoiser = kd.Denoiser(3, grid=(2, 3), **{**SMALL, "hidden_dim": 16})
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(3), LENGTH, steps=2)
    model.build()
    return model


@pytest.mark.plain
def test_segments(writer):
    assert denoising.segments(np.array([0, 1, 4, 4, 3, 3]), writer) == [
        ("token", "ab"),
        ("mask", "▒▒"),
        ("end", "¶"),
    ]


@pytest.mark.plain
def test_a_page(writer, tmp_path):
    trajectory = np.array([[[4] * LENGTH], [[2, 2, 4, 4, 4, 4]], [[2, 2, 0, 1, 3, 3]]])
    denoising.save_denoising(str(tmp_path / "p.html"), trajectory, writer, 1)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    (content,) = re.findall(r'type="application/json">(.*?)</script>', page)
    assert "<" not in content  # whatever a model writes, it ends no script
    frames = json.loads(content)
    assert [frame["texts"][0][0] for frame in frames] == [
        ["mask", "▒" * 6],
        ["token", "<<"],
        ["token", "<<ab"],
    ]


@pytest.mark.plain
def test_an_animation_of_text(writer, tmp_path):
    image = pytest.importorskip("PIL.Image")
    trajectory = np.array([[[4] * LENGTH] * 2, [[0] * LENGTH] * 2])
    denoising.save_denoising(str(tmp_path / "a.gif"), trajectory, writer, 1)
    with image.open(tmp_path / "a.gif") as picture:
        frames = []
        for i in range(picture.n_frames):
            picture.seek(i)
            frames.append(np.asarray(picture.convert("L")))
    assert len(frames) == 2 and frames[0].shape == frames[1].shape
    # Masks are grey, letters nearly black, with white around and between the two samples.
    assert frames[0].min() > 150 and frames[1].min() < 60
    for frame in frames:
        assert (frame[:, :4] == 255).all() and (frame[:, -4:] == 255).all()
        drawn = (frame < 255).any(axis=1)  # of every line of pixels
        assert (np.diff(drawn.astype(int)) == 1).sum() == 2 and frame.shape[1] < 100


@pytest.mark.plain
def test_what_an_animation_needs_is_asked_for_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install pillow matplotlib"):
        denoising.check_path("a.gif")


@pytest.mark.plain
def test_pixels(painter):
    grey = pictures.pixels(np.array([[0, 1, 2, 3, 0, 2]]), painter, 1)
    assert grey.shape == (1, 2, 3, 3) and grey[0, 0, :, 0].tolist() == [0, 127, 255]
    assert grey[0, 1, 0].tolist() == [60, 90, 160]
    color = pictures.pixels(np.array([[0, 1, 2, 3, 0, 2]]), painter, 3)
    assert color.tolist() == [[[[0, 127, 255]], [[128, 0, 255]]]]
    picture = pictures.tiled(np.repeat(grey, 3, axis=0))
    assert picture.size == (2 * (3 * 48 + 2) + 2, 2 * (2 * 48 + 2) + 2)
    assert picture.getpixel((2 + 48, 2)) == (127, 127, 127)


@pytest.fixture(scope="module")
def folders(writer, painter, tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    for name, model in (("writer", writer), ("painter", painter)):
        kd.presets.save_to_preset(model, place / name)
    return place


@ON_TORCH
def test_prompts_of_a_file(folders, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("ab\n\nba<\n")
    command = ["generate", folders / "writer", "--prompts", tmp_path / "prompts.txt", "-n", 2]
    command += ["--separator", "|", "--trajectory", tmp_path / "t.html", "--out", tmp_path / "t.txt"]
    assert cli.main(list(map(str, command))) == 0
    texts = (tmp_path / "t.txt").read_text().split("|")
    assert [text[:2] for text in texts] == ["ab", "ab", "ba", "ba"] and texts[3].startswith("ba<")
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    frames = json.loads(re.findall(r'type="application/json">(.*?)</script>', page)[0])
    assert len(frames) == 3
    last = ["".join(text for _, text in sample).partition("¶")[0] for sample in frames[-1]["texts"]]
    assert last == [text.removesuffix("\n") for text in texts]
    assert cli.main([*map(str, command), "--prompt", "a"]) == 2
    assert "leave out --prompt" in capsys.readouterr().err


@ON_TORCH
def test_a_picture_of_samples(folders, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    command = ["generate", folders / "painter", "--out", tmp_path / "p.png"]
    command += ["--trajectory", tmp_path / "p.gif"]
    assert cli.main(list(map(str, command))) == 0
    with image.open(tmp_path / "p.png") as picture, image.open(tmp_path / "p.gif") as frames:
        assert picture.size == frames.size and frames.n_frames == 3
    for words, message in (
        (["writer", "--out", tmp_path / "w.png"], "makes no images"),
        (["painter", "--trajectory", tmp_path / "p.mp4"], "must end in .gif or .html"),
        (["writer", "--prompts", tmp_path / "nowhere.txt"], "no file"),
        (["writer", "-n", 0], "`-n` must be"),
    ):
        model, *rest = words
        assert cli.main(["generate", str(folders / model), *map(str, rest)]) == 2
        assert message in capsys.readouterr().err


@ON_TORCH
def test_doctor(monkeypatch, capsys):
    """Where there is a driver, and the tests run on a CPU all the same."""
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(selftest, "backend_and_devices", lambda: ("this one", "cpu"))
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "but this one sees no GPU" in shown
    for name in ("keras", "devices", "training", "distillation", "sampling", "All is well on"):
        assert re.search(f"^{name} ", shown, re.M)


@pytest.mark.plain
def test_doctor_says_what_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(selftest, "MOST_BITS", 0.0)
    monkeypatch.setattr(selftest, "UPDATES", 1)
    with pytest.raises(RuntimeError, match="Training went wrong: .* bits per token"):
        list(selftest.selftest())
    monkeypatch.setattr(doctor, "version", lambda name: None)
    assert cli.main(["doctor"]) == 2
    shown = capsys.readouterr()
    assert "not installed: pip install torch" in shown.out
    assert "Keras needs one of jax, tensorflow, torch" in shown.err


@pytest.mark.plain
def test_doctor_without_a_backend_that_starts():
    code = "import sys; from keras_dmmd_command import main; sys.exit(main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "nothing"},
    )
    assert done.returncode == 2
    assert "Keras does not start on nothing" in done.stderr and "KERAS_BACKEND" in done.stderr
