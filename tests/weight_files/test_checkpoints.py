"""Checkpoints from strangers: what they declare is compared with their size before it is read."""

import json
import shutil
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import randomise, small_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a sound file of each kind, of `small_model`."""
    folder = tmp_path_factory.mktemp("saved")
    model = randomise(small_model())
    model.save_weights(folder / "model.weights.h5")
    model.save_weights(folder / "model.weights.json", max_shard_size=2e-5)
    model.save(folder / "model.keras")
    model.save(folder / "folder", zipped=False)
    return folder


def zeros(file, name):
    file.create_dataset(name, data=np.zeros(2**24, "float32"), compression="gzip")


def nothing(file, name):
    file.create_dataset(name, (2**31,), "float32", chunks=(2**16,), fillvalue=1.0)


def outside(file, name):
    file.create_dataset(name, (8,), "uint8", external=[("/etc/hostname", 0, 8)])


def elsewhere(file, name):
    file[name] = h5py.ExternalLink("/etc/hostname", "/")


def alias(file, name):
    file[name] = h5py.SoftLink("/")


def virtual(file, name):
    layout = h5py.VirtualLayout((4,), "float32")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset(name, layout)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


HARM = {
    zeros: "declare 67,",
    nothing: "declare 8,589,",
    outside: "lies in another file",
    virtual: "lies in another file",
    elsewhere: "is a link",
    alias: "is a link",
}


def harm(path, change):
    """Put something else in the place of the first array of a file of HDF5."""
    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
        del file[names[0]]
        change(file, names[0])


@pytest.mark.parametrize("change", HARM, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", ["model.weights.h5", "model.weights.json", "model.keras"])
def test_what_is_declared_is_compared_with_the_size(name, change, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "saved")
    path = folder / name
    if name == "model.keras":
        with zipfile.ZipFile(path) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        inner = tmp_path / "inner.h5"
        inner.write_bytes(members["model.weights.h5"])
        harm(inner, change)
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, inner.read_bytes() if member.endswith(".h5") else content)
    elif name.endswith(".json"):
        harm(next(iter(sorted(folder.glob("model*_00000.weights.h5")))), change)
    else:
        harm(path, change)
    model = randomise(small_model(), seed=5)
    before = [np.array(w) for w in model.get_weights()]
    tracemalloc.start()
    with pytest.raises(OSError, match=f"{name}.*{HARM[change]}"):
        model.load_weights(path)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 8 * 2**20
    assert same(model.get_weights(), before)


def test_sound_files_load(saved):
    for name in ("model.weights.h5", "model.weights.json", "model.keras"):
        model = randomise(small_model(), seed=5)
        model.load_weights(saved / name)
        assert same(model.get_weights(), randomise(small_model()).get_weights())


def test_shards_are_beside_their_list(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "saved")
    path = folder / "model.weights.json"
    content = json.loads(path.read_text())
    content["weight_map"] = {name: "../model.weights.h5" for name in content["weight_map"]}
    path.write_text(json.dumps(content))
    with pytest.raises(OSError, match="model.weights.json.*no file beside it"):
        small_model().load_weights(path)


def test_the_command_names_a_file_that_keras_cannot_load(saved, tmp_path):
    from keras_dmmd.cli.inputs import load

    path = tmp_path / "model.keras"
    with zipfile.ZipFile(saved / "model.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b"DiffusionModel", b"DiffusionMedal"))
    with pytest.raises(ValueError, match="model.keras' holds no model"):
        load(str(path))
    assert isinstance(load(str(saved / "model.keras")), kd.DiffusionModel)
    folder = shutil.copytree(saved / "folder", tmp_path / "folder")
    harm(folder / "model.weights.h5", nothing)
    with pytest.raises(OSError, match="folder.*declare"):
        load(str(folder))
    assert isinstance(load(str(saved / "folder")), kd.DiffusionModel)
