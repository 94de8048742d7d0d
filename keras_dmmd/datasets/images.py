"""Images as tokens, one a pixel or a channel."""

import gzip
import os
import pickle
import zlib

import keras
import numpy as np

from keras_dmmd import checks
from keras_dmmd.datasets.locations import first_with, keras_cache, named
from keras_dmmd.optional import package

HELD_OUT = 297
DEBIAN_FASHION_MNIST = "/usr/share/datasets/fashion-mnist"


def load_digits():
    """Handwritten digits: 8×8 pixels of 17 grey levels, tokens as they stand.

    The 1,797 images of `sklearn.datasets.load_digits` (Alpaydin & Kaynak, 1998), shuffled once with a
    fixed seed; the last 297 are held out.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: ids `(n, 64)` in 0..16 and labels `(n,)`, int32.

    Raises:
        ImportError: scikit-learn is not installed.

    Example:

    ```python
    (x_train, y_train), (x_test, y_test) = kd.datasets.load_digits()
    x_train.shape, x_test.shape  # (1500, 64), (297, 64)
    ```
    """
    datasets = package("sklearn.datasets", "load_digits", "scikit-learn")
    digits = datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    tokens = digits.data[order].astype("int32")
    labels = digits.target[order].astype("int32")
    return (tokens[:-HELD_OUT], labels[:-HELD_OUT]), (tokens[-HELD_OUT:], labels[-HELD_OUT:])


def load_fashion_mnist(levels=16, path=None, download=False):
    """Fashion-MNIST: 28×28 pixels, quantised to a number of grey levels.

    Args:
        levels: grey levels K, 2 to 256; a token is `value * levels // 256`.
        path: a folder with the four gzipped IDX files, or arrays
            `(x_train, y_train), (x_test, y_test)` of values 0..255. By default the folder of the Debian
            package `dataset-fashion-mnist`, or what `keras.datasets` has downloaded before.
        download: whether `keras.datasets` may download the files if they are nowhere.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: ids `(n, 784)` and labels `(n,)`, int32.

    Raises:
        FileNotFoundError: the files are in none of these folders.
        ValueError: a file or an array is not what it should be.

    Example:

    ```python
    (x_train, y_train), (x_test, y_test) = kd.datasets.load_fashion_mnist(levels=16, download=True)
    x_train.shape  # 60,000 images of 784 tokens
    ```
    """
    levels = checks.count("levels", levels, least=2, most=256)
    if isinstance(path, (tuple, list)):
        return _tokens(path, (28, 28), levels)
    folders = (
        [DEBIAN_FASHION_MNIST, keras_cache("fashion-mnist")]
        if path is None
        else [checks.path("path", path)]
    )
    folder = first_with(folders, "train-images-idx3-ubyte.gz")
    if folder is not None:
        splits = [
            [
                _read_idx(os.path.join(folder, f"{split}-{part}-ubyte.gz"))
                for part in ("images-idx3", "labels-idx1")
            ]
            for split in ("train", "t10k")
        ]
    elif download and path is None:
        splits = keras.datasets.fashion_mnist.load_data()
    else:
        raise FileNotFoundError(
            f"Fashion-MNIST is not in {named(folders)}: run `apt install dataset-fashion-mnist`, pass "
            "`path=`, or let keras.datasets.fashion_mnist.load_data() fetch it with `download=True`."
        )
    return _tokens(splits, (28, 28), levels)


def load_cifar10(path=None, download=False):
    """CIFAR-10: 32×32 pixels of three channels of 256 values, one token per channel.

    Args:
        path: the folder `cifar-10-batches-py`, or arrays `(x_train, y_train), (x_test, y_test)` of
            values 0..255 and shape `(n, 32, 32, 3)`. By default what `keras.datasets` has downloaded
            before. The folder's files are pickles: open only those you trust.
        download: whether `keras.datasets` may download the files if they are nowhere.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: ids `(n, 3072)` in 0..255, row by row with channels
        innermost, and labels `(n,)`, int32.

    Raises:
        FileNotFoundError: the files are in none of these folders.
        ValueError: a file or an array is not what it should be.

    Example:

    ```python
    (x_train, y_train), (x_test, y_test) = kd.datasets.load_cifar10(download=True)
    x_train.shape  # 50,000 images of 3,072 tokens
    ```
    """
    if isinstance(path, (tuple, list)):
        return _tokens(path, (32, 32, 3), 256)
    inner = "cifar-10-batches-py"
    cached = [keras_cache(os.path.join(f"{inner}-target", inner)), keras_cache(inner)]
    folders = cached if path is None else [checks.path("path", path)]
    folder = first_with(folders, "test_batch")
    if folder is not None:
        names = ([f"data_batch_{i}" for i in range(1, 6)], ["test_batch"])
        splits = [_read_cifar([os.path.join(folder, name) for name in part]) for part in names]
    elif download and path is None:
        splits = keras.datasets.cifar10.load_data()
    else:
        raise FileNotFoundError(
            f"CIFAR-10 is not in {named(folders)}: pass `path=`, or let "
            "keras.datasets.cifar10.load_data() fetch it with `download=True`."
        )
    return _tokens(splits, (32, 32, 3), 256)


def _read_idx(path):
    """An array of bytes from a gzipped IDX file: byte 3 counts dimensions, then they, then values."""
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"The file {path!r} is damaged: {error}") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"The file {path!r} is not an IDX file of unsigned bytes.")
    start = 4 + 4 * content[3]
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">u4"))
    values = np.frombuffer(content[start:], "uint8")
    if len(shape) != content[3] or len(values) != np.prod(shape, dtype="int64"):
        raise ValueError(f"The file {path!r} is truncated: {len(values)} values for shape {shape}.")
    return values.reshape(shape)


def _read_cifar(paths):
    """Images `(n, 32, 32, 3)` and labels from batches whose images are stored channel by channel."""
    images, labels = [], []
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        try:
            batch = pickle.loads(content, encoding="bytes")
            images.append(np.reshape(batch[b"data"], (-1, 3, 32, 32)).transpose(0, 2, 3, 1))
            labels.append(np.asarray(batch[b"labels"]))
        except Exception as error:  # a pickle that is cut off or changed may raise any
            raise ValueError(f"The file {path!r} is damaged: {error}") from error
    return np.concatenate(images), np.concatenate(labels)


def _tokens(splits, shape, levels):
    """Images of values 0..255 to ids, and labels, each checked."""
    if len(splits) != 2 or not all(isinstance(s, (tuple, list)) and len(s) == 2 for s in splits):
        raise ValueError(
            "`path` must be a folder, or arrays (x_train, y_train), (x_test, y_test). "
            f"Received: {checks.shown(splits)}"
        )
    result = []
    for images, labels in splits:
        images, labels = checks.array("path", images), checks.array("path", labels).reshape(-1)
        if images.shape[1:] != shape or len(images) != len(labels):
            raise ValueError(
                f"Images must have shape (n, {', '.join(map(str, shape))}), with n labels. "
                f"Received: {images.shape} and {len(labels)} labels."
            )
        if images.dtype.kind not in "ui" or (
            images.size and not 0 <= images.min() <= images.max() < 256
        ):
            raise ValueError(f"Images must be integers in 0..255. Received: dtype {images.dtype}")
        result.append((quantised(images, levels), labels.astype("int32")))
    return tuple(result)


def quantised(images, levels):
    """Images `(n, …)` of values 0..255 to ids `(n, length)` of a number of levels, int32."""
    return images.reshape(len(images), -1).astype("int32") * levels // 256
