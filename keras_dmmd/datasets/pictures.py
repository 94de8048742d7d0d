"""A folder of image files as tokens."""

import os
import typing

import numpy as np

from keras_dmmd import checks
from keras_dmmd.datasets.images import quantised
from keras_dmmd.datasets.locations import files_below
from keras_dmmd.optional import package

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")


class Images(typing.NamedTuple):
    """What `load_images` found.

    Attributes:
        tokens: ids `(n, rows * columns * channels)`, int32, channels innermost.
        labels: classes `(n,)`, int32, or `None`.
        classes: the names of the classes in their order, strings, or `None`.
        grid: `(rows, columns * channels)`, the `grid` of a `keras_dmmd.Denoiser`.
    """

    tokens: np.ndarray
    labels: np.ndarray | None
    classes: list | None
    grid: tuple


def load_images(folder, size=None, levels=16, color=False, classes=None):
    """Image files of one's own; the folders that hold them are their classes, where there are several.

    Transparency becomes white. Of an animation the first picture is taken. A photograph is turned as
    its camera was held, and of values of 16 bits the upper 8 are taken. Hidden files and folders are
    left out.

    Args:
        folder: with files of images, or with folders that hold them; needs the package `pillow`.
        size: `(rows, columns)` to which every image is brought; by default they have one size.
        levels: values of a pixel and channel K, 2 to 256; a token is `value * levels // 256`.
        color: whether there are three channels, red, green and blue, or one, of grey.
        classes: names of the folders whose numbers are the labels, in their order, which a set has
            none of; by default those that are there, in the order of the alphabet.

    Returns:
        An `Images`, in the order of the paths.

    Raises:
        ImportError: `pillow` is not installed.
        FileNotFoundError: there are no images.
        ValueError: a file is damaged or has values of unknown range, images differ in size, or a
            folder is none of `classes`.

    Example:

    ```python
    for label in ("dark", "light"):
        pathlib.Path("pictures", label).mkdir(parents=True, exist_ok=True)
        picture = np.full((8, 8, 1), 255 * (label == "light"), "uint8")
        keras.utils.save_img(f"pictures/{label}/1.png", picture, scale=False)
    images = kd.datasets.load_images("pictures", size=(8, 8), levels=16)
    images.tokens.shape, images.classes  # (2, 64), ["dark", "light"]
    ```
    """
    folder = checks.path("folder", folder)
    levels = checks.count("levels", levels, least=2, most=256)
    color = checks.flag("color", color)
    size = None if size is None else checks.grid("size", size)
    if isinstance(classes, (set, frozenset)):  # whose order is another one in every process
        raise ValueError(f"`classes` must have an order. Received: {checks.shown(classes)}")
    classes = None if classes is None else checks.several("classes", classes, checks.text)
    paths = image_files(folder)
    if not paths:
        raise FileNotFoundError(f"There are no images in folder={folder!r}: {', '.join(SUFFIXES)}.")
    arrays = []
    for path in paths:
        arrays.append(_read(path, size, color))
        if arrays[-1].shape != arrays[0].shape:
            raise ValueError(
                f"Images have different sizes, {arrays[0].shape[:2]} in {paths[0]!r} and "
                f"{arrays[-1].shape[:2]} in {path!r}: give `size`, (rows, columns), for all."
            )
    images = np.stack(arrays)
    places = [os.path.relpath(os.path.dirname(path), folder) for path in paths]
    if classes is None:
        classes = sorted(set(places)) if len(set(places)) > 1 else None
    labels = None
    if classes is not None:
        unknown = sorted(set(places) - set(classes))
        if unknown == ["."]:
            raise ValueError(
                f"Images lie in {folder!r} itself, not in folders that are their classes: {classes}."
            )
        if unknown:
            raise ValueError(f"The folders {unknown} in {folder!r} are none of the classes {classes}.")
        labels = np.array([classes.index(place) for place in places], "int32")
    rows, columns = images.shape[1:3]
    grid = (rows, columns * (3 if color else 1))
    return Images(quantised(images, levels), labels, classes, grid)


def image_files(folder):
    """The paths of the images in a folder and those below it, but for hidden ones, sorted."""
    return files_below(folder, SUFFIXES)


def _read(path, size, color):
    """Values 0..255, uint8 `(rows, columns)` or `(rows, columns, 3)`."""
    pillow = package("PIL.Image", "load_images", "pillow")
    turned = package("PIL.ImageOps", "load_images", "pillow").exif_transpose
    try:
        with pillow.open(path) as image:
            image = _of_bytes(turned(image), image.format, pillow).convert("RGBA")
            image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB" if color else "L")
            if size is not None:
                image = image.resize(size[::-1], pillow.Resampling.BOX)
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise ValueError(f"The image {path!r} cannot be read: {error}") from error


def _of_bytes(image, format, pillow):
    """An image whose values are 0..255, as `convert` takes them: it cuts off what is above."""
    # Pillow says of some files of 16 bits that their values are any integers.
    if image.mode.startswith("I;16") or (image.mode == "I" and format in ("PNG", "PPM")):
        return pillow.fromarray((np.asarray(image) // 256).astype("uint8"))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its values, of Pillow's mode {image.mode!r}, have no range that is known: save it with 8 "
            "or 16 bits"
        )
    return image
