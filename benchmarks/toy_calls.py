"""One student for every number of calls, checked exactly: total variation on random modes.

    python -m benchmarks.toy_calls --seeds 3

The exact denoiser of a small distribution is the teacher, small transformers are student and critic,
both from the weights of one that learned on samples. Students: for 1 to 8 calls, told which; the same
at the times of its grid, or beside a critic that is not told; and students for one number. All train
for as many rounds.
"""

import argparse

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.common import print_table, write_json
from benchmarks.toy import PROCESSES, cosine
from keras_dmmd.distillation.beginnings import Beginning
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser

CALLS = (1, 2, 4, 8)
SIZE = {"hidden_dim": 32, "num_layers": 2, "num_heads": 2, "cond_dim": 16}
# What a student is for, and whether its critic is told.
WAYS = {
    "1 to 8": ((1, 8), True),
    "1 to 8, times of the grid": ((1, 8), True),
    "1 to 8, critic not told": ((1, 8), False),
    **{str(k): (k, True) for k in CALLS},
}


class Untold(kd.DiffusionModel):
    """A model that is never told how far a step goes, though its network could be."""

    def _network_inputs(self, conditions):
        return super()._network_inputs(conditions._replace(step_size=None))


def pretrain(process, support, probabilities, updates, seed):
    """A denoiser learned on samples, where student and critic start."""
    denoiser = kd.Denoiser(3, process.num_states, position="learned", length=5, **SIZE)
    model = kd.DiffusionModel(denoiser, process, length=5, seed=seed)
    model.compile(keras.optimizers.Adam(cosine(3e-3, updates)))
    rows = toy.samples(support, probabilities, updates * 256, seed)
    model.fit(rows, batch_size=256, verbose=0)
    return model


def distil(way, learned, teacher, rows, rounds, learning_rate, seed):
    """The student of one way."""
    steps, is_told = WAYS[way]
    start = Beginning(learned, steps, seed=seed)
    student, critic = start.new_student(), start.new_critic()
    if not is_told:
        critic = Untold(critic.denoiser, critic.process, length=5, seed=seed + 4, name="critic")
    times = "grid" if "grid" in way else "random"
    distiller = kd.DMMDDistiller(teacher, student, critic, steps=steps, times=times, seed=seed)
    distiller.compile(**kd.annealed_optimizers(rounds, learning_rate))
    distiller.fit(rows, batch_size=256, verbose=0)
    return distiller.student


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--process", choices=sorted(PROCESSES), default="masked")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pretrain", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--path", default=None, help="folder of the result file")
    args = parser.parse_args(argv)
    found = {way: [] for way in ("teacher", *args.ways)}
    for seed in range(args.seeds):
        keras.utils.set_random_seed(seed)
        support, probabilities = toy.random_modes(seed)
        process = PROCESSES[args.process](3)
        learned = pretrain(process, support, probabilities, args.pretrain, seed)
        exact = ExactDenoiser(support, probabilities, process)
        teacher = kd.DiffusionModel(exact, process, length=5)
        rows = toy.samples(support, probabilities, args.rounds * 256, seed + 1)
        for way, distances in found.items():
            model = teacher
            if way != "teacher":
                model = distil(way, learned, teacher, rows, args.rounds, args.learning_rate, seed)
            drawn = [model.generate(args.samples, steps=k, seed=seed, verbose=0) for k in CALLS]
            distances.append([kd.metrics.total_variation(x, support, probabilities) for x in drawn])
            print(args.process, seed, way, np.round(distances[-1], 3), flush=True)
    rows = []
    for way, distances in found.items():
        mean_and_error = [
            kd.metrics.statistics.mean_and_error(np.array(d)) for d in zip(*distances, strict=True)
        ]
        columns = {f"{k} calls": mean for k, (mean, _) in zip(CALLS, mean_and_error, strict=True)}
        errors = {f"{k} calls_error": e for k, (_, e) in zip(CALLS, mean_and_error, strict=True)}
        rows.append({"student for": way, **columns, **errors})
    kwargs = {} if args.path is None else {"folder": args.path}
    write_json(f"toy_calls_{args.process}", rows, vars(args), **kwargs)
    print_table(rows, ["student for", *(f"{k} calls" for k in CALLS)])
    return rows


if __name__ == "__main__":
    main()
