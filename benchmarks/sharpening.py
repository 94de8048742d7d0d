"""What a sharper teacher does to a student's text: temperature and top-p distillation, swept.

    python -m benchmarks.sharpening --reference runs/smollm2 --folder runs/sharpening

For each setting the student that ships goes on from where it is, for some rounds, under a teacher at
that temperature or nucleus; then its samples are judged: bits per character under a reference model,
which a sharper sampler lowers by itself, beside the entropy of each text's characters, which shows
what that cost. The last rows are the teacher's own samples at the same temperatures and nuclei.

Settings that are done are files in the folder: the same command goes on where it stopped.
"""

import argparse
import json
import os
import time

import keras

import keras_dmmd as kd
from benchmarks import common

SETTINGS = {
    "plain": {},
    "temperature 0.9": {"temperature": 0.9},
    "temperature 0.8": {"temperature": 0.8},
    "temperature 0.6": {"temperature": 0.6},
    "top-p 0.95": {"top_p": 0.95},
    "top-p 0.9": {"top_p": 0.9},
    "top-p 0.8": {"top_p": 0.8},
}
COLUMNS = ["setting", "who", "calls", "bits_a_character", "entropy", "known_words"]


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", help="a folder of examples/smollm2_preset.py; none: no bits")
    parser.add_argument("--path", help="where the speeches are, see keras_dmmd.datasets.load_sotu")
    parser.add_argument("--teacher", default="sotu_chars_teacher")
    parser.add_argument("--student", default="sotu_chars_student")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--teacher-calls", type=int, default=128)
    parser.add_argument("--policy", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", required=True, help="of the students, for going on")
    parser.add_argument("--results", default=common.RESULTS, help="folder of the result file")
    return parser.parse_args(argv)


def distil(args, rows, options):
    """The student after some rounds under a sharpened teacher."""
    teacher, student = (kd.from_preset(name) for name in (args.teacher, args.student))
    distiller = kd.DMMDDistiller(teacher, student, steps=student.steps, seed=args.seed, **options)
    # The student waits for its critic, which starts as the teacher.
    distiller.compile(
        **kd.annealed_optimizers(args.rounds, args.learning_rate, warmup=args.rounds // 10),
        jit_compile=keras.backend.backend() != "torch",
    )
    distiller.fit(rows, batch_size=args.batch_size, steps_per_epoch=args.rounds, verbose=2)
    return distiller.student


def main(argv=None):
    args = parse(argv)
    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy(args.policy)
    teacher = kd.from_preset(args.teacher)
    tokenizer, length = teacher.tokenizer, teacher.length
    speeches, _ = kd.datasets.load_sotu(args.path, download=args.path is None)
    speeches = [kd.datasets.text8(text) for text in speeches]
    rows = kd.datasets.pack(speeches, tokenizer, length)
    words = {word for speech in speeches for word in speech.split()}
    judge = args.reference and kd.metrics.CausalReference.from_folder(args.reference)

    def measure(setting, who, model, **generate):
        path = os.path.join(args.folder, f"{who} {setting}.json")
        if not os.path.exists(path):
            tokens = model().generate(args.samples, seed=args.seed, verbose=0, **generate)
            texts = tokenizer.decode(tokens)
            row = {
                "setting": setting,
                "who": who,
                "calls": generate["steps"],
                "entropy": kd.metrics.unigram_entropy(tokens),
                "known_words": kd.metrics.known_words(texts, words),
            }
            if judge:
                row["bits_a_character"] = kd.metrics.bits_per_character(texts, judge)
            with open(path, "w") as file:
                json.dump(row, file)
        with open(path) as file:
            return json.load(file)

    def student(setting):
        place = os.path.join(args.folder, setting)
        if not os.path.exists(os.path.join(place, "card.json")):  # written last
            start = time.time()
            model = distil(args, rows, SETTINGS[setting])
            minutes = round((time.time() - start) / 60, 2)
            kd.presets.save_to_preset(model, place, card={"minutes": minutes, **vars(args)})
        return kd.from_preset(place)

    os.makedirs(args.folder, exist_ok=True)
    known = os.path.join(args.folder, "arguments.json")
    asked = {k: v for k, v in vars(args).items() if k not in ("settings", "folder", "results", "path")}
    if os.path.exists(known):
        with open(known) as file:
            if json.load(file) != asked:
                raise ValueError(f"{args.folder!r} holds a sweep with other arguments: see {known!r}.")
    with open(known, "w") as file:
        json.dump(asked, file, indent=1)
    steps = kd.from_preset(args.student).steps
    results = []
    for setting in args.settings:
        results.append(measure(setting, "student", lambda s=setting: student(s), steps=steps))
        options = {**SETTINGS[setting], "steps": args.teacher_calls}
        results.append(measure(setting, "teacher", lambda: teacher, **options))
    shown = [
        {k: "{:.3f} ± {:.3f}".format(*v) if isinstance(v, list) else v for k, v in row.items()}
        for row in results
    ]
    common.print_table(shown, COLUMNS)
    return common.write_json("sharpening", results, asked, args.results)


if __name__ == "__main__":
    main()
