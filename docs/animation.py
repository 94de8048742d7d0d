"""The animation of the first page: teacher beside student, call by call, from the models that ship.

    python docs/animation.py

writes `docs/denoising.gif`. Both panels show the same number of network calls at the same moment: the
student has ended after 8 of them, the teacher after 64.
"""

import pathlib

import keras
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import keras_dmmd as kd

FILE = pathlib.Path(__file__).with_name("denoising.gif")
CALLS = {"teacher": 64, "student": 8}
COLUMNS, ROWS, PIXEL, GAP = 6, 2, 5, 8  # digits of a panel, and the size of one of their pixels
LETTERS, LINES = 46, 3
PAPER, INK, QUIET, MASK, DONE = (
    (255, 255, 255),
    (20, 24, 40),
    (110, 116, 134),
    (196, 206, 236),
    (22, 122, 72),
)
PANEL = COLUMNS * (8 * PIXEL + GAP) - GAP
WIDTH, HEIGHT, MARGIN = 2 * PANEL + 72, 250, 20


def font(size, name="DejaVuSans"):
    return ImageFont.truetype(
        str(pathlib.Path(matplotlib.get_data_path(), "fonts/ttf", f"{name}.ttf")), size
    )


HEADING, SMALL, CODE = font(17, "DejaVuSans-Bold"), font(13), font(10, "DejaVuSansMono")


def trajectories():
    """Of each role digits `(calls + 1, n, 64)` and speeches `(calls + 1, n, length)`, ids."""
    found = {}
    for role, calls in CALLS.items():
        digits = kd.from_preset(f"digits_masked_{role}").generate(
            COLUMNS * ROWS, steps=calls, seed=3, trajectory=True, verbose=0
        )
        speeches = kd.from_preset(f"sotu_chars_{role}").generate(
            1, steps=calls, seed=5, trajectory=True, verbose=0
        )
        found[role] = digits, speeches
    return found


def draw_digits(image, left, top, ids):
    for i, digit in enumerate(ids.reshape(ROWS, COLUMNS, 8, 8).reshape(-1, 8, 8)):
        row, column = divmod(i, COLUMNS)
        grey = 255 - np.minimum(digit, 16) * 255 // 16
        pixels = np.where((digit == 17)[..., None], MASK, np.repeat(grey[..., None], 3, -1)).astype(
            "uint8"
        )
        tile = Image.fromarray(pixels).resize((8 * PIXEL, 8 * PIXEL), Image.Resampling.NEAREST)
        image.paste(tile, (left + column * (8 * PIXEL + GAP), top + row * (8 * PIXEL + GAP)))


def draw_text(canvas, left, top, ids):
    alphabet = " abcdefghijklmnopqrstuvwxyz"
    width = CODE.getlength("m")
    for i, token in enumerate(ids[0]):
        row, column = divmod(i, LETTERS)
        x, y = left + column * width, top + row * 16
        if token == len(alphabet):
            canvas.rectangle((x + 0.5, y + 2, x + width - 1, y + 12), fill=MASK)
        else:
            canvas.text((x, y), alphabet[token], font=CODE, fill=INK)


def frame(found, call):
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    canvas = ImageDraw.Draw(image)
    for column, role in enumerate(CALLS):
        left, made = MARGIN + column * (PANEL + 32), min(call, CALLS[role])
        done = made == CALLS[role]
        digits, speeches = found[role]
        canvas.text((left, 14), role.capitalize(), font=HEADING, fill=INK)
        said = f"{made} of {CALLS[role]} network calls" + (", done" if done else "")
        canvas.text((left, 38), said, font=SMALL, fill=DONE if done else QUIET)
        canvas.rectangle((left, 60, left + PANEL - 1, 65), fill=(232, 235, 242))
        if made:
            canvas.rectangle(
                (left, 60, left + PANEL * made / CALLS[role] - 1, 65), fill=DONE if done else QUIET
            )
        draw_digits(image, left, 80, digits[made])
        draw_text(canvas, left, 80 + ROWS * (8 * PIXEL + GAP) + 12, speeches[made])
    return image


def main():
    keras.utils.set_random_seed(0)
    found = trajectories()
    calls = [*range(9), *range(10, 32, 2), *range(32, 65, 4)]
    frames = [frame(found, call) for call in calls]
    both = Image.new("RGB", (WIDTH, 2 * HEIGHT))  # one palette, of masks and of what replaces them
    both.paste(frames[4], (0, 0))
    both.paste(frames[-1], (0, HEIGHT))
    palette = both.quantize(48)
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in frames]
    pauses = [350 if call < 9 else 160 for call in calls]
    pauses[0], pauses[-1] = 900, 3500
    frames[0].save(
        FILE, save_all=True, append_images=frames[1:], duration=pauses, loop=0, optimize=True
    )
    print(f"{FILE.name}, {FILE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
