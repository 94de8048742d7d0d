"""Train the digits teachers that ship with the package.

    python examples/train_digits_teacher.py --process masked --out runs/digits_masked_teacher

Writes the preset, and the training log beside it. Any backend. Those that ship were trained in
phases, each later one from the one before and without dropout (`--init runs/first --dropout 0`): the
chain of `continued_from` in their `card.json` has every phase's arguments.
"""

import argparse
import os
import time

import keras
import numpy as np

import keras_dmmd as kd
from keras_dmmd.datasets import load_digits

PROCESSES = {"masked": kd.MaskedDiffusion, "uniform": kd.UniformDiffusion}


def build(process, dropout=0.1):
    denoiser = kd.Denoiser(
        vocabulary_size=17,
        num_states=process.num_states,
        grid=(8, 8),
        hidden_dim=96,
        num_layers=4,
        num_heads=4,
        mlp_dim=192,
        dropout=dropout,
    )
    return kd.DiffusionModel(denoiser, process, length=64)


def bits(teacher, images, corruptions=16):
    """NELBO in bits per pixel: the mean over several times and corruptions of each image."""
    x = np.tile(images, (corruptions, 1))
    return teacher.evaluate(x, batch_size=300, verbose=0, return_dict=True)["bits_per_dim"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--process", choices=sorted(PROCESSES), default="masked")
    parser.add_argument("--epochs", type=int, default=240)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--init", help="a preset to go on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    (x_train, _), (x_test, _) = load_digits()
    steps = args.epochs * -(-len(x_train) // args.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=args.learning_rate, warmup_steps=200, alpha=0.01
    )
    teacher = build(PROCESSES[args.process](17), args.dropout)
    if args.init:
        teacher.set_weights(kd.from_preset(args.init).get_weights())
    teacher.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=0.03, global_clipnorm=1.0, use_ema=True, ema_momentum=0.999
        )
    )
    os.makedirs(args.out, exist_ok=True)
    start = time.time()
    teacher.fit(
        x_train,
        batch_size=args.batch_size,
        epochs=args.epochs,
        validation_data=x_test,
        validation_freq=10,
        verbose=2,
        callbacks=[keras.callbacks.CSVLogger(os.path.join(args.out, "training.csv"))],
    )
    held_out, train = bits(teacher, x_test), bits(teacher, x_train)
    kd.presets.save_to_preset(
        teacher,
        args.out,
        card={
            "task": "digits, 8x8 pixels of 17 grey levels (scikit-learn load_digits)",
            "script": "examples/train_digits_teacher.py",
            "process": args.process,
            "seed": args.seed,
            "epochs": args.epochs,
            "steps": steps,
            "batch_size": args.batch_size,
            "learning_rate": args.learning_rate,
            "dropout": args.dropout,
            "continued_from": kd.presets.read_card(args.init) if args.init else None,
            "parameters": int(teacher.count_params()),
            "nelbo_bits_per_dim_held_out": round(held_out, 4),
            "nelbo_bits_per_dim_train": round(train, 4),
            "minutes": round((time.time() - start) / 60, 1),
            "device": "CPU, 2 cores",
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
        },
    )
    print(f"{held_out:.3f} bits per pixel on held-out images, {train:.3f} on those it learned")


if __name__ == "__main__":
    main()
