"""Whole distillations that can be checked exactly: total variation of the student to the data.

    python -m benchmarks.toy --process masked --steps 4 --seeds 5

A small random distribution, its exact denoiser as the teacher, multilayer perceptrons as student and
critic, both from the weights of a denoiser learned on samples. Prints the total variation of the
teacher and of the student at `steps` network calls, over seeds (each with a distribution of its own);
with `--name` all of it goes to a result file.
"""

import argparse
import json
import time

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.common import RESULTS, write_json
from keras_dmmd.distillation.beginnings import Beginning
from keras_dmmd.metrics.statistics import mean_and_error
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser

PROCESSES = {
    "masked": kd.MaskedDiffusion,
    "uniform": kd.UniformDiffusion,
    "uniform-loo": lambda k: kd.UniformDiffusion(k, prediction="loo"),
}


def cosine(peak, steps, alpha=0.02):
    return keras.optimizers.schedules.CosineDecay(peak, steps, alpha=alpha)


def pretrain(process, support, probabilities, updates, batch_size, seed):
    """A denoiser learned on samples: where student and critic start."""
    length = support.shape[1]
    denoiser = toy.ToyDenoiser(process.vocabulary_size, process.num_states, length)
    model = kd.DiffusionModel(denoiser, process, length=length, seed=seed)
    model.compile(keras.optimizers.Adam(cosine(2e-3, updates)))
    model.fit(
        toy.samples(support, probabilities, updates * batch_size, seed),
        batch_size=batch_size,
        verbose=0,
    )
    return model


def distil(name, steps, seed, coins=False, updates=3000, batch_size=256, samples=20_000, **options):
    """One distillation: a dict with the total variation of teacher and student."""
    keras.utils.set_random_seed(seed)
    support, probabilities = toy.equal_coins() if coins else toy.random_modes(seed)
    process = PROCESSES[name](2 if coins else 3)
    learning_rate = options.pop("learning_rate", None)
    critic_rate = options.pop("critic_rate", None) or learning_rate
    ema = options.pop("ema", 0.99)
    pretrain_updates = options.pop("pretrain", 1500)
    learned = pretrain(process, support, probabilities, pretrain_updates, batch_size, seed)
    teacher = kd.DiffusionModel(
        ExactDenoiser(support, probabilities, process), process, length=support.shape[1]
    )
    noise, scale = options.pop("noise", "auto"), options.pop("noise_scale", "auto")
    start = Beginning(learned, steps, noise, scale, seed=seed)
    distiller = kd.DMMDDistiller(
        teacher,
        student=start.new_student(),
        critic=start.new_critic(),
        steps=steps,
        seed=seed,
        **options,
    )
    optimizers = {}
    if learning_rate:
        adam = {"beta_1": 0.0, "beta_2": 0.99, "global_clipnorm": 1.0}
        optimizers = {
            "student_optimizer": keras.optimizers.Adam(
                cosine(learning_rate, updates), use_ema=True, ema_momentum=ema, **adam
            ),
            "critic_optimizer": keras.optimizers.Adam(cosine(critic_rate, updates), **adam),
        }
    distiller.compile(**optimizers)
    start = time.time()
    data = toy.samples(support, probabilities, updates * batch_size, seed + 1)
    history = distiller.fit(data, batch_size=batch_size, verbose=0).history
    result = {"seconds": round(time.time() - start, 1)}
    for role, model in (("teacher", teacher), ("student", distiller.student)):
        draws = model.generate(samples, steps=steps, seed=seed)
        result[role] = round(kd.metrics.total_variation(draws, support, probabilities), 4)
    result["log_ratio_mean"] = round(float(history["log_ratio_mean"][-1]), 4)
    return result


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--process", choices=sorted(PROCESSES), default="masked")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--coins", action="store_true")
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--options", type=json.loads, default={}, help="JSON, for DMMDDistiller")
    parser.add_argument("--name", help="of a result file, toy_<name>")
    parser.add_argument("--path", default=RESULTS, help="its folder")
    args = parser.parse_args(argv)
    rows = []
    for seed in range(args.seeds):
        row = distil(
            args.process, args.steps, seed, coins=args.coins, updates=args.updates, **args.options
        )
        print(args.process, args.steps, seed, args.options, row, flush=True)
        rows.append({"seed": seed, **row})
    students = np.array([row["student"] for row in rows])
    found = kd.metrics.with_error(*mean_and_error(students))
    settings = f"{args.process} k={args.steps} {args.options}"
    print(f"{settings}: student TV {found} (worst {students.max():.3f})", flush=True)
    if args.name:
        write_json(f"toy_{args.name}", rows, vars(args), folder=args.path)
    return rows


if __name__ == "__main__":
    main()
