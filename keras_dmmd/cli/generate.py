"""`keras-dmmd generate`: samples as texts, ids, a picture, and how they came to be."""

import numpy as np

from keras_dmmd.cli import inputs
from keras_dmmd.cli.denoising import check_path, save_denoising
from keras_dmmd.cli.pictures import channels_of, save_grid
from keras_dmmd.cli.showing import lines
from keras_dmmd.files import check_file, replacing

SAMPLES = 4  # where nobody says, without a file of prompts


def generate(args):
    if args.out:
        check_file(args.out)
    if args.trajectory:
        check_path(args.trajectory)
        check_file(args.trajectory)
    model, card = inputs.sampler(args.model), inputs.card(args.model)
    is_picture = bool(args.out) and args.out.endswith(".png")
    if is_picture and model.capabilities.grid is None:
        raise ValueError(f"{args.model} makes no images: --out cannot be a picture, {args.out}.")
    n, prompts = inputs.prompts(args, model, SAMPLES)
    samples = model.generate(
        n,
        steps=args.steps,
        seed=args.seed,
        length=args.length,
        max_length=args.max_length,
        prompts=prompts,
        labels=inputs.label(args.label, card),
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
    if args.out and args.out.endswith(".npy"):
        with replacing(args.out) as path:
            np.save(path, samples)
    elif is_picture:
        save_grid(args.out, samples, model, channels_of(card))
    elif args.out:
        with replacing(args.out) as path, open(path, "w", encoding="utf-8") as file:
            print(*lines(model, samples), sep=args.separator, file=file)
    else:
        print(*lines(model, samples), sep=args.separator)
