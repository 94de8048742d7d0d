"""How samples come to be, call by call: an animation, or a page with a slider."""

import base64
import io
import itertools
import json
import os

import numpy as np

from keras_dmmd.cli.pictures import pixels, tiled
from keras_dmmd.files import replacing
from keras_dmmd.optional import package

ACROSS = 64  # characters of a line in an animation
MASK, END = "▒", "¶"  # a token that is not there yet, and the end of a text
COLORS = {"token": "#111111", "mask": "#b8b8b8", "end": "#d55e00"}
FRAME, LAST = 150, 2000  # milliseconds that a call is shown, and what came out
TEMPLATE = os.path.join(os.path.dirname(__file__), "denoising.html")
PLACE = "{{frames}}"


def check_path(path):
    """Raise a `ValueError` where a path says neither that of an animation nor that of a page."""
    if not path.lower().endswith((".gif", ".html")):
        raise ValueError(f"--trajectory must end in .gif or .html. Received: {path!r}")
    package("PIL.Image", "--trajectory", "pillow matplotlib")
    if path.lower().endswith(".gif"):  # whose texts are drawn in a font of matplotlib's
        package("matplotlib", "--trajectory", "pillow matplotlib")


def save_denoising(path, trajectory, model, channels):
    """Write canvases `(calls + 1, n, length)` as a `.gif` or an `.html`, which is one file.

    Args:
        path: of the file.
        trajectory: what `generate(trajectory=True)` returned.
        model: of the samples.
        channels: of images, 1 or 3.
    """
    if model.capabilities.grid is not None:
        frames = [tiled(pixels(canvas, model, channels)) for canvas in trajectory]
        shown = [{"image": _data_uri(frame)} for frame in frames]
    else:
        texts = [[segments(row, model) for row in canvas] for canvas in trajectory]
        frames = _drawn(texts) if path.lower().endswith(".gif") else []
        shown = [{"texts": canvas} for canvas in texts]
    with replacing(path) as partial:
        if path.lower().endswith(".gif"):
            durations = [FRAME] * (len(frames) - 1) + [LAST]
            frames[0].save(partial, save_all=True, append_images=frames[1:], duration=durations, loop=0)
            return
        with open(TEMPLATE, encoding="utf-8") as file:
            page = file.read()
        # No text of a model can end the script that it stands in.
        content = json.dumps(shown, ensure_ascii=False).replace("<", "\\u003c")
        with open(partial, "w", encoding="utf-8") as file:
            file.write(page.replace(PLACE, content))


def segments(row, model):
    """A canvas `(length,)` as pieces of one kind, `[(kind, text)]`: tokens, masks, ends."""
    end = model.tokenizer.end_id if model.tokenizer is not None else None

    def kind(token):
        if token >= model.process.vocabulary_size:
            return "mask"
        return "end" if token == end else "token"

    found = []
    for name, ids in itertools.groupby(row.tolist(), kind):
        ids = list(ids)
        if name == "mask":
            text = MASK * len(ids)
        elif name == "end":
            text = END
        elif model.tokenizer is None:
            text = "".join(f"{token} " for token in ids)
        else:
            text = model.tokenizer.decode(np.array(ids))
        found.append((name, text))
    return found


def _drawn(texts):
    """Pictures of canvases of text, all of one size, in letters of one width."""
    package("PIL.ImageFont", "--trajectory", "pillow matplotlib")
    matplotlib = package("matplotlib", "--trajectory", "pillow matplotlib")
    from PIL import Image, ImageDraw, ImageFont

    path = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf")
    font = ImageFont.truetype(path, 14)
    width, height = font.getlength(MASK), 20
    laid = [[_wrapped(row) for row in canvas] for canvas in texts]
    # Of each sample as many lines as it ever takes, and one between two.
    lines = [max(len(canvas[i]) for canvas in laid) for i in range(len(laid[0]))]
    tops = np.cumsum([0, *(n + 1 for n in lines)])
    across = max(len(row) for canvas in laid for rows in canvas for row in rows)
    size = (round(width * (across + 2)), int(height * (tops[-1] + 1)))
    frames = []
    for canvas in laid:
        image = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(image)
        for top, rows in zip(tops, canvas, strict=False):
            for y, row in enumerate(rows):
                for x, (kind, character) in enumerate(row):
                    place = (width * (x + 1), height * (top + y + 0.5))
                    draw.text(place, character, font=font, fill=COLORS[kind])
        frames.append(image)
    return frames


def _wrapped(row):
    """The characters of a sample in lines, `[[(kind, character)]]`."""
    characters = [(kind, c if c.isprintable() else " ") for kind, text in row for c in text]
    return [characters[i : i + ACROSS] for i in range(0, len(characters), ACROSS)]


def _data_uri(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
