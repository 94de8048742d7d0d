"""`keras-dmmd generate`: samples as texts, ids, a picture, and how they came to be."""

import os

import numpy as np

from keras_dmmd.cli import cards, inputs, places
from keras_dmmd.cli.denoising import check_path, save_denoising
from keras_dmmd.cli.pictures import channels_of, save_grid
from keras_dmmd.cli.showing import lines
from keras_dmmd.datasets.pictures import SUFFIXES
from keras_dmmd.datasets.text import read_text
from keras_dmmd.files import check_file, replacing
from keras_dmmd.fingerprints import array_hash, text_hash, weights_hash

SAMPLES = 4  # where nobody says, without a file of prompts


@places.tidy
def generate(args):
    if _ending(args) in SUFFIXES and not _is_picture(args):
        raise ValueError(f"--out of a picture must end in .png. Received: {args.out!r}")
    if args.out:
        check_file(args.out)
    if args.trajectory:
        check_path(args.trajectory)
        check_file(args.trajectory)
    model, card = inputs.sampler(args.model), inputs.card(args.model)
    if _is_picture(args) and model.capabilities.grid is None:
        raise ValueError(f"{args.model} makes no images: --out cannot be a picture, {args.out}.")
    n, prompts = inputs.prompts(args, model, SAMPLES)
    samples = model.generate(
        n,
        steps=args.steps,
        seed=args.seed,
        length=args.length,
        max_length=args.max_length,
        prompts=prompts,
        labels=inputs.label(args.label, model, card),
        guidance_scale=args.guidance,
        temperature=args.temperature,
        top_p=args.top_p,
        sampler=args.sampler,
        batch_size=args.batch_size,
        trajectory=bool(args.trajectory),
    )
    if args.trajectory:
        save_denoising(args.trajectory, samples, model, channels_of(card))
        samples = samples[-1]
    _save(args, samples, model, card)
    written = args.out or args.trajectory
    if written:
        cards.write_beside(written, _card(args, model, samples))


def _card(args, model, samples):
    """How samples were made, and a hash of them, by which a repetition is compared."""
    return cards.made_by(
        args,
        settings=cards.settings(args),
        weights=weights_hash(model),
        prompts=None if args.prompts is None else text_hash(read_text(args.prompts)),
        samples=array_hash(samples),
    )


def _save(args, samples, model, card):
    """Write samples to `--out`, or on the terminal."""
    if _ending(args) == ".npy":
        with replacing(args.out) as path, open(path, "wb") as file:
            np.save(file, samples)
    elif _is_picture(args):
        save_grid(args.out, samples, model, channels_of(card))
    elif args.out:
        with replacing(args.out) as path, open(path, "w", encoding="utf-8") as file:
            print(*lines(model, samples), sep=args.separator, file=file)
    else:
        print(*lines(model, samples), sep=args.separator)


def _is_picture(args):
    return _ending(args) == ".png"


def _ending(args):
    return os.path.splitext(args.out or "")[1].lower()
