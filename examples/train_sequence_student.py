"""Distil a teacher of text, molecules or proteins for one number of calls.

    python examples/train_sequence_student.py --teacher moses_teacher --data moses --steps 8 \\
        --rounds 4000 --out runs/moses_student

Any backend. Writes the preset, its card and the training log; a run that was interrupted goes on when
it is started again. `--student runs/first` begins a further phase with a student that is trained.
"""

import argparse
import json
import os
import time

import keras

try:
    from examples.train_sequence_teacher import TASKS, load
except ImportError:  # as a script
    from train_sequence_teacher import TASKS, load

import keras_dmmd as kd
from keras_dmmd.evaluation.machine import machine


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", required=True, help="a preset")
    parser.add_argument("--data", choices=sorted(TASKS), required=True)
    parser.add_argument("--path", help="where the data lie, see keras_dmmd.datasets")
    parser.add_argument("--cache", help="a .npz file to keep encoded rows in, and take them from")
    parser.add_argument("--student", help="a preset to go on from")
    parser.add_argument("--steps", type=int, default=8, help="network calls")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--options", type=json.loads, default={}, help="of DMMDDistiller, as JSON")
    parser.add_argument("--policy", default="float32", help="or mixed_bfloat16")
    parser.add_argument("--log-every", type=int, default=100, help="rounds: a log line, a backup")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)
    args = parser.parse_args(argv)

    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy(args.policy)
    teacher = kd.from_preset(args.teacher)
    _, train, _ = load(args.data, args.path, args.cache)
    student = kd.from_preset(args.student) if args.student else None
    epoch = min(args.log_every, args.rounds)
    epochs = args.rounds // epoch
    distiller = kd.DMMDDistiller(teacher, student, steps=args.steps, seed=args.seed, **args.options)
    distiller.compile(
        # A student that is trained already waits for its critic, which starts as the teacher.
        **kd.annealed_optimizers(
            epoch * epochs,
            args.learning_rate,
            warmup=epoch * epochs // 10 if student else 0,
            critic_steps=distiller.critic_steps,
        ),
        jit_compile=keras.backend.backend() != "torch",
    )
    os.makedirs(args.out, exist_ok=True)
    start = time.time()
    distiller.fit(
        train,
        batch_size=args.batch_size,
        steps_per_epoch=epoch,
        epochs=epochs,
        verbose=2,
        callbacks=[
            kd.callbacks.BackupAndResume(os.path.join(args.out, "backup")),
            keras.callbacks.CSVLogger(os.path.join(args.out, "training.csv"), append=True),
        ],
    )
    settings = vars(args).items()
    kd.presets.save_to_preset(
        distiller.student,
        args.out,
        card={
            "task": f"{TASKS[args.data]}; {args.steps} network calls",
            "script": "examples/train_sequence_student.py",
            **{k: v for k, v in settings if k not in ("path", "cache", "out", "log_every")},
            "teacher": os.path.basename(os.path.normpath(args.teacher)),
            "student": None if student is None else kd.presets.read_card(args.student),
            "minutes": round((time.time() - start) / 60, 1),
            "machine": machine(),
        },
    )


if __name__ == "__main__":
    main()
