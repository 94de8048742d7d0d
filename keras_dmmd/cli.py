"""`keras-dmmd`: look at presets, write samples, distil and evaluate, from files and without code."""

import argparse
import json
import os
import sys

EPILOG = """\
MODEL is the name of a preset that ships (keras-dmmd info lists them), a folder that save_to_preset or
keras-dmmd distill wrote, or a handle such as hf://user/name. DATA is a .npy file of ids, (n, length),
or text: a file or a folder of .txt files, for a model with a tokenizer.

The backend is that of Keras: KERAS_BACKEND=jax, tensorflow or torch.

examples:
  keras-dmmd info
  keras-dmmd info digits_masked_student
  keras-dmmd generate sotu_chars_student -n 2 --prompt "the president said "
  keras-dmmd distill sotu_chars_teacher --data speeches/ --steps 16 --rounds 500 --out my_student
  keras-dmmd evaluate sotu_chars_teacher my_student --steps 8 16 32 --data speeches/ --out report
"""


def main(argv=None):
    """Run a command; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, TypeError, OSError, EOFError, ImportError) as error:
        print(f"keras-dmmd {args.command}: {error}", file=sys.stderr)
        return 2
    return 0


def parser():
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    top = argparse.ArgumentParser("keras-dmmd", description=__doc__, epilog=EPILOG, **raw)
    commands = top.add_subparsers(dest="command", required=True)

    def command(name, run, text):
        sub = commands.add_parser(name, help=text, description=text, epilog=EPILOG, **raw)
        sub.set_defaults(run=run)
        return sub

    sub = command("info", info, "Say what a model is and what was measured, or which presets ship.")
    sub.add_argument("model", nargs="?", metavar="MODEL")

    sub = command("generate", generate, "Write samples of a model.")
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument("-n", type=int, default=4, help="samples [%(default)s]")
    sub.add_argument("--steps", type=int, help="network calls per sample [the model's own]")
    sub.add_argument("--prompt", help="how every sample begins, of a model with a tokenizer")
    sub.add_argument("--length", type=int, help="tokens of a sample [those of the training data]")
    sub.add_argument("--label", type=int, help="a class, of a model with classes")
    sub.add_argument("--temperature", type=float, default=1.0, help="of the predictions [%(default)s]")
    sub.add_argument("--top-p", type=float, help="nucleus in (0, 1]")
    sub.add_argument("--sampler", help="by name, such as confidence [the model's own]")
    sub.add_argument("--seed", type=int, default=0, help="the same gives the same [%(default)s]")
    sub.add_argument("--out", help="a .npy file for the ids, or another file for texts [the terminal]")

    sub = command("distill", distill, "Distil a teacher into a student of few network calls.")
    sub.add_argument("model", metavar="TEACHER")
    sub.add_argument("--data", required=True, help="what the teacher learned from, see below")
    sub.add_argument("--lines", action="store_true", help="every line of the data is a text of its own")
    sub.add_argument("--steps", type=int, default=8, help="network calls to train for [%(default)s]")
    sub.add_argument("--rounds", type=int, default=500, help="critic and student updates [%(default)s]")
    sub.add_argument("--batch-size", type=int, default=32, help="[%(default)s]")
    sub.add_argument("--learning-rate", type=float, default=1e-3, help="at first [%(default)s]")
    sub.add_argument("--temperature", type=float, default=1.0, help="of the teacher [%(default)s]")
    sub.add_argument("--top-p", type=float, help="nucleus of the teacher")
    sub.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    sub.add_argument("--out", required=True, help="the folder of the student")

    sub = command("evaluate", evaluate, "Compare models over network calls and temperatures.")
    sub.add_argument("models", nargs="+", metavar="MODEL")
    sub.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16], help="[4 8 16]")
    sub.add_argument("--samplers", nargs="+", help="by name, such as confidence [the model's own]")
    sub.add_argument("--temperatures", type=float, nargs="+", default=[1.0], help="[1]")
    sub.add_argument("--samples", type=int, default=500, help="per cell and seed [%(default)s]")
    sub.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="[0 1 2]")
    sub.add_argument("--data", help="real data, to compare with")
    sub.add_argument("--lines", action="store_true", help="every line of the data is a text of its own")
    sub.add_argument("--features", help="image features, such as digits_features: Fréchet distances")
    sub.add_argument(
        "--reference",
        help="a language model, such as sotu_chars_reference or a folder: bits per character, and the "
        "gradient moment where its tokens are those of the models",
    )
    sub.add_argument("--title", default="Samplers", help="of the page [%(default)s]")
    sub.add_argument("--out", required=True, help="the folder of report.html, .json and .csv")
    return top


def _model(name):
    """A sampler: a preset may also be a reference, which only judges."""
    from keras_dmmd import DiffusionModel, presets

    model = presets.from_preset(name)
    if not isinstance(model, DiffusionModel):
        raise ValueError(f"{name} is a {type(model).__name__}, which writes no samples.")
    return model


def info(args):
    from keras_dmmd import DiffusionModel, presets

    if args.model is None:
        print(*presets.names(), sep="\n")
        return
    model = presets.from_preset(args.model)
    facts = {"kind": f"{type(model).__name__}, {model.count_params():,} parameters"}
    if isinstance(model, DiffusionModel):
        network = f"{type(model.denoiser).__name__}, {model.count_params():,} parameters"
        facts = {
            "process": model.process,
            "network": network,
            "tokens per sample": model.length,
            "network calls per sample": model.steps,
            "sampler": model.sampler,
            "tokenizer": model.tokenizer,
        }
    else:
        facts["use"] = "it judges and writes no samples: for evaluate --reference or --features"
    for name, fact in facts.items():
        print(f"{name:26}{fact}")
    print(json.dumps(presets.read_card(args.model), indent=1))


def generate(args):
    import numpy as np

    from keras_dmmd.files import replacing

    model = _model(args.model)
    if args.prompt is not None and model.tokenizer is None:
        raise ValueError(f"{args.model} has no tokenizer: it takes no --prompt.")
    samples = model.generate(
        args.n,
        steps=args.steps,
        seed=args.seed,
        length=args.length,
        # As parts, so that what comes back are ids.
        prompts=None if args.prompt is None else [[model.tokenizer.encode(args.prompt)]],
        labels=args.label,
        temperature=args.temperature,
        top_p=args.top_p,
        sampler=args.sampler,
    )
    if args.out and args.out.endswith(".npy"):
        with replacing(args.out) as path:
            np.save(path, samples)
        return
    if model.tokenizer is not None:
        lines = model.tokenizer.decode(samples)
    else:
        lines = [" ".join(map(str, ids)) for ids in samples]
    if not args.out:
        print(*lines, sep="\n")
        return
    with replacing(args.out) as path, open(path, "w", encoding="utf-8") as file:
        print(*lines, sep="\n", file=file)


def distill(args):
    import keras

    from keras_dmmd import DMMDDistiller, annealed_optimizers, presets

    for name in ("rounds", "batch_size"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1: {getattr(args, name)}")
    keras.utils.set_random_seed(args.seed)
    teacher = _model(args.model)
    rows = _data(args.data, teacher, args.lines)
    distiller = DMMDDistiller(
        teacher, steps=args.steps, temperature=args.temperature, top_p=args.top_p, seed=args.seed
    )
    per_epoch = min(args.rounds, 50)
    args.rounds = per_epoch * -(-args.rounds // per_epoch)  # whole epochs: what the card says
    distiller.compile(**annealed_optimizers(args.rounds, args.learning_rate))
    distiller.fit(
        rows,
        batch_size=min(args.batch_size, len(rows)),
        steps_per_epoch=per_epoch,
        epochs=args.rounds // per_epoch,
    )
    asked = {k: v for k, v in vars(args).items() if k not in ("run", "command", "out")}
    presets.save_to_preset(distiller.student, args.out, card=asked)
    print(f"The student is in {args.out}: keras-dmmd generate {args.out}")


def evaluate(args):
    from keras_dmmd import evaluation, metrics

    names = [os.path.basename(os.path.normpath(model)) for model in args.models]
    if len(set(names)) < len(names):
        raise ValueError(f"The models need different names. Received: {names}")
    models = {name: _model(model) for name, model in zip(names, args.models, strict=True)}
    data = None if args.data is None else _data(args.data, models[names[0]], args.lines)
    asked, data = evaluation.default_metrics(
        models,
        args.samples,
        data,
        features=args.features and metrics.ImageFeatures.from_preset(args.features),
        reference=args.reference and metrics.CausalReference.from_folder(args.reference),
    )
    report = evaluation.evaluate(
        models,
        args.steps,
        asked,
        temperatures=args.temperatures,
        samplers=args.samplers,
        reference_data=data,
        samples=args.samples,
        seeds=args.seeds,
        folder=args.out,
        title=args.title,
    )
    print(report)
    print(f"The page: {os.path.join(args.out, 'report.html')}")


def _data(path, model, lines):
    """Ids `(n, length)` of a .npy file, or of texts in a model's tokens."""
    import numpy as np

    from keras_dmmd import datasets

    if path.endswith(".npy"):
        rows = np.load(path)
        if not isinstance(rows, np.ndarray):
            raise ValueError(f"{path} must hold one array.")
        if rows.ndim != 2 or rows.dtype.kind not in "iu" or rows.shape[1] != model.length:
            raise ValueError(
                f"{path} must be ids of shape (n, {model.length}). "
                f"Received: shape {rows.shape} of {rows.dtype}"
            )
        return rows.astype("int32")
    if model.tokenizer is None:
        raise ValueError(f"This model has no tokenizer: {path} must be a .npy file of ids.")
    texts, _ = datasets.load_text(path, held_out=0, separator="\n" if lines else None)
    return datasets.pack(texts, model.tokenizer, model.length, whole=lines)


if __name__ == "__main__":
    sys.exit(main())
