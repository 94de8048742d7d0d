"""Teachers and students on images, at the sizes of the paper: Fréchet distance by sampling steps.

    KERAS_BACKEND=jax python -m benchmarks.images --dataset fashion_mnist --process masked \\
        --size small --folder runs/fashion_masked

Trains the features, the teacher and one student for each number of steps, then measures samples against
test images quantised alike. Run the same command again to go on where it stopped: finished stages are
files in the folder, and a training that was cut off resumes from its last epoch.
"""

import argparse
import json
import os
import time

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks import common
from keras_dmmd import datasets

PROCESSES = {"masked": kd.MaskedDiffusion, "uniform": kd.UniformDiffusion}
# Rows by columns of tokens (channels innermost), and the image behind them for the features.
DATASETS = {
    "digits": {"levels": 17, "grid": (8, 8), "image": (8, 8), "channels": 1},
    "fashion_mnist": {"levels": 16, "grid": (28, 28), "image": (28, 28), "channels": 1},
    "cifar10": {"levels": 256, "grid": (32, 96), "image": (32, 32), "channels": 3},
}
SMALLEST = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 32, "cond_dim": 16}
TINY = {
    "dataset": "digits",
    "size": "smallest",
    "dropout": 0.0,
    "teacher_epochs": 1,
    "feature_epochs": 1,
    "student_steps": [2],
    "teacher_steps": [2],
    "rounds": 4,
    "samples": 32,
    "seeds": 2,
    "limit": 512,
}
# What belongs to a run: a folder is not used for two different ones.
MEASURING = ("samples", "seeds", "teacher_steps", "student_steps", "folder", "tiny", "path", "download")


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="fashion_mnist")
    parser.add_argument("--path", help="folder of the data, where they are not installed")
    parser.add_argument("--download", action="store_true", help="let keras.datasets fetch the data")
    parser.add_argument("--limit", type=int, help="train on so many images only")
    parser.add_argument("--process", choices=sorted(PROCESSES), default="masked")
    parser.add_argument("--size", choices=["smallest", *kd.Denoiser.sizes], default="small")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--dtype-policy", default="float32", help="mixed_bfloat16 for large networks")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--feature-epochs", type=int, default=10)
    parser.add_argument("--teacher-epochs", type=int, default=200)
    parser.add_argument("--teacher-rate", type=float, default=1e-3)
    parser.add_argument("--rounds", type=int, default=20000, help="updates of each student, about")
    parser.add_argument("--student-rate", type=float, default=3e-4)
    parser.add_argument("--teacher-weight", type=float, default=0.0)
    parser.add_argument("--noise", default="auto", help="random input of the students, or 'none'")
    parser.add_argument("--student-steps", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--teacher-steps", type=int, nargs="+", default=[4, 16, 64, 256, 1024])
    parser.add_argument("--samples", type=int, default=10000)
    parser.add_argument("--seeds", type=int, default=3, help="sets of samples, for the error bars")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--tiny", action="store_true", help="for tests: digits, seconds")
    args = parser.parse_args(argv)
    if args.tiny:
        vars(args).update(TINY)
    return args


def load(args):
    place = {"path": args.path, "download": args.download}
    (x_train, y_train), test = {
        "digits": lambda: datasets.load_digits(),
        "fashion_mnist": lambda: datasets.load_fashion_mnist(
            DATASETS["fashion_mnist"]["levels"], **place
        ),
        "cifar10": lambda: datasets.load_cifar10(**place),
    }[args.dataset]()
    return (x_train[: args.limit], y_train[: args.limit]), test


class Run:
    """The stages of one experiment, each done once: `done` holds what they took, in `stages.json`."""

    def __init__(self, args):
        self.args, self.set = args, DATASETS[args.dataset]
        os.makedirs(args.folder, exist_ok=True)
        settings = {k: v for k, v in vars(args).items() if k not in MEASURING}
        known = self.read("settings.json")
        if known is not None and known != settings:
            changed = sorted(k for k in settings if known.get(k) != settings[k])
            raise ValueError(
                f"The folder {args.folder!r} holds a run with other settings of {changed}."
            )
        self.write("settings.json", settings)
        self.done = self.read("stages.json") or {}
        self.skipped = []
        self.train, self.test = load(args)

    def path(self, *names):
        return os.path.join(self.args.folder, *names)

    def read(self, name):
        if not os.path.exists(self.path(name)):
            return None
        with open(self.path(name)) as file:
            return json.load(file)

    def write(self, name, content):
        with open(self.path(name + ".partial"), "w") as file:
            json.dump(content, file, indent=1)
        os.replace(self.path(name + ".partial"), self.path(name))

    def stage(self, name, work):
        """Do `work() -> dict` unless it is done, and keep what it returned."""
        if name in self.done:
            self.skipped.append(name)
        else:
            print(f"-- {name}", flush=True)
            start = time.time()
            self.done[name] = {**work(), "seconds": round(time.time() - start, 2)}
            self.write("stages.json", self.done)
        return self.done[name]

    # Stages ---------------------------------------------------------------------------------------

    def features(self):
        def work():
            features = kd.ImageFeatures(self.set["image"], self.set["levels"], self.set["channels"])
            history = features.train_classifier(
                *self.train, self.test, epochs=self.args.feature_epochs, verbose=2
            ).history
            features.save_to_preset(self.path("features"))
            return {"accuracy": history["val_accuracy"][-1]}

        self.stage("features", work)
        return kd.ImageFeatures.from_preset(self.path("features"))

    def fit(self, model, name, epochs, **kwargs):
        """`fit` that resumes; a log beside it."""
        model.fit(
            self.train[0],
            batch_size=self.args.batch_size,
            epochs=epochs,
            verbose=2,
            callbacks=[
                keras.callbacks.CSVLogger(self.path(f"{name}.csv"), append=True),
                kd.callbacks.BackupAndResume(self.path(f"{name}_backup")),
            ],
            **kwargs,
        )

    def batches(self):
        return -(-len(self.train[0]) // self.args.batch_size)

    def teacher(self):
        args = self.args
        process = PROCESSES[args.process](self.set["levels"])
        size = SMALLEST if args.size == "smallest" else kd.Denoiser.sizes[args.size]
        denoiser = kd.Denoiser(
            self.set["levels"],
            num_states=process.num_states,
            grid=self.set["grid"],
            dropout=args.dropout,
            dtype=args.dtype_policy,
            **size,
        )
        teacher = kd.DiffusionModel(
            denoiser, process, length=self.train[0].shape[1], seed=args.seed, name="teacher"
        )

        def work():
            teacher.compile(
                keras.optimizers.AdamW(
                    cosine(args.teacher_rate, args.teacher_epochs * self.batches()),
                    weight_decay=0.03,
                    global_clipnorm=1.0,
                    use_ema=True,
                    ema_momentum=0.999,
                )
            )
            self.fit(teacher, "teacher", args.teacher_epochs)
            bits = teacher.evaluate(
                self.test[0], batch_size=args.batch_size, verbose=0, return_dict=True
            )["bits_per_dim"]
            kd.presets.save_to_preset(teacher, self.path("teacher"), dtype="float32")
            return {"bits_per_dim": bits, "parameters": int(teacher.count_params())}

        self.stage("teacher", work)
        return self.restored(teacher, "teacher")

    def restored(self, model, name):
        """`model` with the weights of the preset `name`, in its own dtype policy."""
        with np.load(self.path(name, "weights.npz")) as file:
            model.set_weights([file[weight] for weight in sorted(file.files)])  # names start with 000
        return model

    def student(self, teacher, k):
        args, name = self.args, f"student_{k:03d}"
        noise = None if args.noise == "none" else args.noise
        distiller = kd.DMMDDistiller(
            teacher, steps=k, noise=noise, teacher_weight=args.teacher_weight, seed=args.seed
        )

        def work():
            epochs = max(1, round(args.rounds / self.batches()))
            optimizers = {}
            for role in ("student", "critic"):
                ema = {"use_ema": True, "ema_momentum": 0.999} if role == "student" else {}
                optimizers[f"{role}_optimizer"] = keras.optimizers.Adam(
                    cosine(args.student_rate, epochs * self.batches()),
                    beta_1=0.0,
                    beta_2=0.99,
                    global_clipnorm=1.0,
                    **ema,
                )
            distiller.compile(**optimizers)
            self.fit(distiller, name, epochs)
            kd.presets.save_to_preset(distiller.student, self.path(name), dtype="float32")
            return {"rounds": epochs * self.batches()}

        self.stage(name, work)
        return self.restored(distiller.student, name)

    def distances(self, model, name, k, features, reference):
        """Fréchet distances of `seeds` sets of samples; one stage each."""
        rows = []
        for seed in range(self.args.seeds):

            def work(seed=seed):
                samples = model.generate(self.args.samples, steps=k, seed=1000 + seed)
                distance = kd.metrics.frechet_distance(features.statistics(samples), reference)
                return {"frechet": distance}

            stage = f"{name}: {k} steps, {self.args.samples} samples, seed {seed}"
            rows.append(self.stage(stage, work))
        values = [row["frechet"] for row in rows]
        return {
            "model": name,
            "steps": k,
            "frechet": float(np.mean(values)),
            "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
            "samples": self.args.samples,
            "seeds": len(values),
            "seconds": float(np.median([row["seconds"] for row in rows])),
        }


def cosine(rate, steps):
    """Warm up over a twentieth of the steps, then decay to a hundredth."""
    warmup = max(1, min(500, steps // 20))
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup, alpha=0.01
    )


def main(argv=None):
    args = parse(argv)
    keras.utils.set_random_seed(args.seed)
    run = Run(args)
    features = run.features()
    reference = features.statistics(run.test[0])
    n = min(args.samples, len(run.train[0]))
    floor = kd.metrics.frechet_distance(features.statistics(run.train[0][:n]), reference)
    rows = [{"model": "training images", "frechet": floor, "samples": n}]
    teacher = run.teacher()
    rows += [run.distances(teacher, "teacher", k, features, reference) for k in args.teacher_steps]
    for k in args.student_steps:
        student = run.student(teacher, k)
        rows.append(run.distances(student, "student", k, features, reference))
    common.print_table(rows, ["model", "steps", "frechet", "deviation", "samples", "seeds", "seconds"])
    settings = {name: value for name, value in vars(args).items() if name not in ("folder", "path")}
    results = {"rows": rows, "stages": run.done, "skipped": run.skipped}
    name = f"images_{args.dataset}_{args.process}"
    common.write_json(name, results, settings, folder=args.folder)
    if not args.tiny:
        common.write_json(name, results, settings)
    return results


if __name__ == "__main__":
    main()
