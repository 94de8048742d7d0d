"""Samples of images as pictures."""

import numpy as np

from keras_dmmd.cli.sources import remembered
from keras_dmmd.files import replacing
from keras_dmmd.optional import package

SMALLEST = 96  # pixels of the shorter side of an image, which is enlarged to about that
MARGIN = 2


def channels_of(card):
    """Channels of a model's images, by its card: 3 where they are in colour, else 1."""
    return 3 if remembered(card).get("color") else 1


def pixels(samples, model, channels):
    """Ids `(n, length)` as `(n, rows, columns, 3)`, uint8; a mask, which is no level, is blue."""
    rows, columns = model.capabilities.grid
    levels = model.process.vocabulary_size
    masked = samples >= levels
    values = (np.minimum(samples, levels - 1) * 255 // (levels - 1)).astype("uint8")
    if channels == 3 and columns % 3 == 0:
        values[masked] = 128
        return values.reshape(-1, rows, columns // 3, 3)
    colors = np.repeat(values[..., None], 3, axis=-1)
    colors[masked] = (60, 90, 160)
    return colors.reshape(-1, rows, columns, 3)


def tiled(images):
    """Images `(n, rows, columns, 3)` side by side in a square, enlarged, a `PIL.Image`."""
    pillow = package("PIL.Image", "A picture of samples", "pillow matplotlib")
    n, rows, columns, _ = images.shape
    across = int(np.ceil(np.sqrt(n)))
    down = -(-n // across)
    scale = max(1, SMALLEST // min(rows, columns))
    height, width = (scale * side + MARGIN for side in (rows, columns))
    canvas = np.full((down * height + MARGIN, across * width + MARGIN, 3), 255, "uint8")
    for i, image in enumerate(images):
        top, left = MARGIN + i // across * height, MARGIN + i % across * width
        large = image.repeat(scale, axis=0).repeat(scale, axis=1)
        canvas[top : top + large.shape[0], left : left + large.shape[1]] = large
    return pillow.fromarray(canvas)


def save_grid(path, samples, model, channels):
    """Write samples side by side into a picture."""
    picture = tiled(pixels(samples, model, channels))
    with replacing(path) as partial:
        picture.save(partial)
