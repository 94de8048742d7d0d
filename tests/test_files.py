"""Files are written whole or not at all."""

import os
import subprocess
import sys

import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd.files import HOST, replacing
from tests.builders import small_model

pytestmark = pytest.mark.plain


def test_a_file_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as partial:
        open(partial, "w").write("one")
        assert not path.exists() and os.path.basename(partial) == "a.txt"
    assert path.read_text() == "one"
    with pytest.raises(OSError, match="full"), replacing(path) as partial:
        open(partial, "w").write("tw")
        raise OSError("full")
    assert path.read_text() == "one"
    assert os.listdir(path.parent) == ["a.txt"]


def test_several_files_go_together(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(*paths) as (a, b):
        open(a, "w").write("new")
        open(b, "w").write(str(1 / 0))
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_folders_and_what_is_written_beside(tmp_path):
    def write(*names):
        with replacing(tmp_path / "d") as partial:
            os.makedirs(partial)
            for name in names:
                open(os.path.join(partial, name), "w").write(" ".join(names))

    write("one")
    write("one", "two")
    with pytest.raises(OSError, match="holds other things, which would be lost: two"):
        write("one")
    assert (tmp_path / "d" / "one").read_text() == "one two"
    assert sorted(os.listdir(tmp_path / "d")) == ["one", "two"]
    with replacing(tmp_path / "s.json") as partial:
        for name in (partial, f"{partial}_1"):
            open(name, "w").write("x")
    assert sorted(os.listdir(tmp_path)) == ["d", "s.json", "s.json_1"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from keras_dmmd.files import replacing\n"
        "with replacing(sys.argv[1]) as path:\n"
        "    open(path, 'w').write('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "a.txt"
    path.write_text("good")
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.read_text() == "good" and len(os.listdir(tmp_path)) == 2
    elsewhere = tmp_path / ".999999999@elsewhere.partial.a.txt"  # of a machine that may be at work
    elsewhere.mkdir()
    with replacing(path) as partial:
        open(partial, "w").write("better")
    assert path.read_text() == "better" and sorted(os.listdir(tmp_path)) == [elsewhere.name, "a.txt"]


def test_a_killed_process_may_have_had_the_number_of_this_one(tmp_path):
    """As the first of a container that was started again; a thread of this one is no such."""
    path = tmp_path / "a.txt"
    for name in (f".{os.getpid()}@{HOST}.partial.a.txt", f".{os.getpid()}.0@{HOST}.partial.a.txt"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        with replacing(path) as one, replacing(path) as other:
            assert os.path.dirname(one) != os.path.dirname(other)
            for partial in (one, other):
                open(partial, "w").write(partial)
        assert path.read_text() == one
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_lies_deeper_is_not_lost_either(tmp_path):
    def write(*names):
        with replacing(tmp_path / "d") as partial:
            for name in names:
                os.makedirs(os.path.join(partial, "assets", name), exist_ok=True)
                open(os.path.join(partial, "assets", name, "x"), "w").write(" ".join(names))

    write("tok")
    (tmp_path / "d" / "assets" / "mine").write_text("of another")
    with pytest.raises(OSError, match="would be lost: assets.mine"):
        write("tok")
    (tmp_path / "d" / "assets" / "mine").unlink()
    write("tok", "other")
    assert (tmp_path / "d" / "assets" / "tok" / "x").read_text() == "tok other"
    assert os.listdir(tmp_path) == ["d"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    """And one killed in between leaves both: nothing is removed before another one is whole."""
    path, replace = tmp_path / "d", os.replace

    def write(text):
        with replacing(path) as partial:
            os.makedirs(partial)
            open(os.path.join(partial, "x"), "w").write(text)

    def failing(source, target):
        if target == str(path) and not source.endswith(".old"):
            raise OSError("no")
        replace(source, target)

    write("old")
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="no"):
        write("new")
    assert (path / "x").read_text() == "old" and os.listdir(tmp_path) == ["d"]
    monkeypatch.undo()
    left = tmp_path / f".{os.getpid()}.0@{HOST}.partial.d"
    left.mkdir()
    path.rename(left / "d.old")
    with pytest.raises(ZeroDivisionError), replacing(path):
        raise ZeroDivisionError
    assert (left / "d.old" / "x").read_text() == "old"
    for text in ("new", "newer"):
        write(text)
    assert (path / "x").read_text() == "newer" and os.listdir(tmp_path) == ["d"]


def test_a_preset_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    model = small_model()
    model.save_to_preset(tmp_path, card={"first": True})
    before = model.generate(2, steps=2)

    def full(path, **arrays):
        open(path, "wb").write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        small_model(hidden_dim=32).save_to_preset(tmp_path)
    assert kd.presets.read_card(str(tmp_path)) == {"first": True}
    assert kd.from_preset(str(tmp_path)).generate(2, steps=2).shape == before.shape
    assert sorted(os.listdir(tmp_path)) == ["card.json", "config.json", "weights.npz"]


def test_a_model_as_a_folder_and_weights_in_shards(tmp_path):
    model = small_model(hidden_dim=64)
    for _ in range(2):
        model.save(tmp_path / "folder", zipped=False)
        model.save_weights(tmp_path / "s.weights.json", max_shard_size=0.0001)
    names = os.listdir(tmp_path)
    assert not [name for name in names if "partial" in name]
    other = small_model(hidden_dim=64, seed=1)
    other.load_weights(tmp_path / "s.weights.json")
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
