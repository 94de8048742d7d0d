"""Sets of TensorFlow Datasets, read without TensorFlow."""

from keras_dmmd.optional import package


def load_tfds(name, split, feature, data_dir=None, download=False):
    """One feature of a prepared set: a sequence that reads an item when it is asked for.

    Args:
        name, split, data_dir: as in `tfds.data_source`; sets must be prepared in the `array_record`
            format.
        feature: which feature of an example, as `"text"` or `"image"`.
        download: whether the set may be downloaded and prepared; otherwise it must be there.

    Returns:
        A sequence with `len` and integer indices, for `pack`, `split` or `grain.MapDataset.source`:
        texts as strings, all else as numpy.

    Raises:
        ImportError: tensorflow-datasets is not installed.
        FileNotFoundError: the set is not prepared and `download` is false.
        ValueError: there is no such set, or it has no such feature.

    Example:

    ```python
    articles = kd.datasets.load_tfds("ag_news_subset", "train", "description", download=True)
    rows = kd.datasets.pack(articles, kd.tokenizers.ByteTokenizer(), length=128)
    ```
    """
    tfds = package("tensorflow_datasets", "load_tfds", "tensorflow-datasets array-record")
    try:
        source = tfds.data_source(name, split=split, data_dir=data_dir, download=download)
    except (FileNotFoundError, AssertionError, NotImplementedError) as error:  # tfds raises any of them
        raise FileNotFoundError(
            f"The set {name!r} is not prepared as array_record files in "
            f"{data_dir or 'the default folder of TFDS'}: pass `download=True` or prepare it with tfds."
        ) from error
    except ValueError as error:  # an unknown name, followed by the list of all names
        raise ValueError(str(error).splitlines()[0]) from error
    return _Feature(source, feature)


class _Feature:
    """One feature of a random-access source."""

    def __init__(self, source, feature):
        self.source, self.feature = source, feature
        if len(source) and feature not in source[0]:
            raise ValueError(f"`feature` must be one of {sorted(source[0])}. Received: {feature!r}")

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(index)  # or iteration over this would never end
        value = self.source[index % len(self)][self.feature]
        return value.decode("utf-8") if isinstance(value, bytes) else value
