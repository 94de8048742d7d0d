"""Loaders of images: what they return, and how they fail."""

import gzip
import pickle
import struct

import keras
import numpy as np
import pytest

from keras_dmmd import datasets

pytestmark = pytest.mark.plain


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    """No dataset package, an empty cache, and a download that fails the test."""
    monkeypatch.setattr(datasets.images, "DEBIAN_FASHION_MNIST", str(tmp_path / "debian"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def refuse(*args, **kwargs):
        raise AssertionError("tried to download")

    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", refuse)
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", refuse)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def images(n, shape, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (n, *shape)).astype("uint8")


def write_fashion(folder, n_train=5, n_test=3):
    arrays = {}
    for split, n in (("train", n_train), ("t10k", n_test)):
        x, y = images(n, (28, 28), n), np.arange(n, dtype="uint8")
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", x)
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", y)
        arrays[split] = x, y
    return arrays


def test_digits():
    pytest.importorskip("sklearn")
    (x_train, y_train), (x_test, y_test) = datasets.load_digits()
    assert x_train.shape == (1500, 64) and x_test.shape == (297, 64)
    assert y_train.shape == (1500,) and y_test.shape == (297,)
    assert {a.dtype.name for a in (x_train, y_train, x_test, y_test)} == {"int32"}
    assert set(np.unique(x_train)) == set(range(17)) and set(np.unique(y_test)) == set(range(10))
    again = datasets.load_digits()
    np.testing.assert_array_equal(again[1][0], x_test)
    # Together the splits are the whole set, each image once.
    from sklearn.datasets import load_digits

    whole = sorted(map(tuple, load_digits().data.astype(int).tolist()))
    assert sorted(map(tuple, np.concatenate([x_train, x_test]).tolist())) == whole


@pytest.mark.parametrize("where", ["path", "debian", "keras/datasets/fashion-mnist"])
def test_fashion_mnist_from_idx_files(tmp_path, where):
    arrays = write_fashion(tmp_path / where)
    path = tmp_path / "path" if where == "path" else None
    (x_train, y_train), (x_test, y_test) = datasets.load_fashion_mnist(path=path)
    assert x_train.shape == (5, 784) and x_test.shape == (3, 784)
    assert x_train.dtype == y_train.dtype == np.int32
    np.testing.assert_array_equal(x_train, arrays["train"][0].reshape(5, 784) // 16)
    np.testing.assert_array_equal(y_test, arrays["t10k"][1])


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_fashion_mnist_levels(levels):
    ramp = np.resize(np.arange(256, dtype="uint8"), (1, 28, 28))
    (x, _), _ = datasets.load_fashion_mnist(levels, path=((ramp, [0]), (ramp, [1])))
    assert set(np.unique(x)) == set(range(levels))
    counts = np.unique(x[0, :256], return_counts=True)[1]
    assert counts.max() - counts.min() <= 1
    assert (np.diff(x[0, :256]) >= 0).all()


def test_cifar10_order_of_tokens():
    train, test = images(4, (32, 32, 3)), images(2, (32, 32, 3), 1)
    # Labels as Keras gives them, in a column.
    given = (train, np.arange(4)[:, None]), (test, np.arange(2)[:, None])
    (x_train, y_train), (x_test, _) = datasets.load_cifar10(path=given)
    assert x_train.shape == (4, 3072) and x_test.shape == (2, 3072) and y_train.shape == (4,)
    assert x_train.dtype == y_train.dtype == np.int32
    assert x_train[1, (5 * 32 + 7) * 3 + 2] == train[1, 5, 7, 2]


@pytest.mark.parametrize(
    "where", ["path", "keras/datasets/cifar-10-batches-py-target/cifar-10-batches-py"]
)
def test_cifar10_from_batches(tmp_path, where):
    folder = tmp_path / where
    folder.mkdir(parents=True)
    x = images(12, (32, 32, 3))
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for i, name in enumerate(names):
        channel_first = x[2 * i : 2 * i + 2].transpose(0, 3, 1, 2).reshape(2, 3072)
        batch = {b"data": channel_first, b"labels": [i, i]}
        (folder / name).write_bytes(pickle.dumps(batch))
    path = folder if where == "path" else None
    (x_train, y_train), (x_test, y_test) = datasets.load_cifar10(path=path)
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), x.reshape(12, 3072))
    assert y_train.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] and y_test.tolist() == [5, 5]


def test_damaged_batches(tmp_path):
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    whole = pickle.dumps({b"data": np.zeros((1, 3072), "uint8"), b"labels": [0]})
    for content in (b"", b"no pickle", whole[:-50], pickle.dumps([]), pickle.dumps({})):
        for name in names:
            (tmp_path / name).write_bytes(content if name == "data_batch_3" else whole)
        with pytest.raises(ValueError, match="data_batch_3' is damaged"):
            datasets.load_cifar10(path=tmp_path)


def test_missing_data_fail_at_once_and_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        datasets.load_fashion_mnist()
    with pytest.raises(FileNotFoundError, match=r"keras\.datasets\.cifar10\.load_data"):
        datasets.load_cifar10()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.load_fashion_mnist(path=tmp_path / "nowhere", download=True)
    with pytest.raises(AssertionError, match="tried to download"):
        datasets.load_cifar10(download=True)


def test_damaged_idx_files(tmp_path):
    write_fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    short = gzip.compress(gzip.decompress(whole)[:-1])
    wrong_type = gzip.compress(b"\x00\x00\x0d\x01" + struct.pack(">I", 1) + b"\x00")
    torn = whole[:30] + bytes(20) + whole[50:]
    for content in (whole[:-20], torn, short, wrong_type, gzip.compress(b"\x00\x00"), b"not gzip"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="train-images"):
            datasets.load_fashion_mnist(path=tmp_path)


def test_wrong_arrays():
    good = images(2, (28, 28)), np.zeros(2)
    for bad in (
        (images(2, (32, 32)), np.zeros(2)),
        (images(2, (28, 28)), np.zeros(3)),
        (images(2, (28, 28)) / 255.0, np.zeros(2)),
        (images(2, (28, 28)).astype("int32") + 1, np.zeros(2)),
    ):
        with pytest.raises(ValueError, match="Images must"):
            datasets.load_fashion_mnist(path=(good, bad))
    for levels in (1, 257, 16.0):
        with pytest.raises(ValueError, match="levels"):
            datasets.load_fashion_mnist(levels, path=(good, good))
