"""The commands, each a function of what the command line said."""

import json
import os
import sys
import warnings

import keras
import numpy as np

from keras_dmmd import checks, evaluation, metrics, presets
from keras_dmmd.cli import cards, inputs, places, sources
from keras_dmmd.cli.checkpoint import Checkpoint
from keras_dmmd.cli.pictures import channels_of
from keras_dmmd.cli.showing import bar
from keras_dmmd.cli.watching import Run, WatchRounds, in_epochs
from keras_dmmd.distillation import DMMDDistiller, annealed_optimizers
from keras_dmmd.evaluation.checks import check_numbers
from keras_dmmd.evaluation.defaults import most_samples
from keras_dmmd.exporting.formats import WITH_INTEGERS, check_place, format_of
from keras_dmmd.fingerprints import weights_hash
from keras_dmmd.training import DiffusionModel

SAMPLES = 500  # of a cell, where nobody says
ROUNDS_PER_EPOCH = 50  # of a distillation: a line of logs, and a checkpoint


def info(args):
    if args.model is None:
        print(*presets.names(), sep="\n")
        return
    model = inputs.load(args.model)
    if isinstance(model, DiffusionModel):
        can = model.capabilities
        facts = {
            "process": model.process,
            "network": f"{type(model.denoiser).__name__}, {model.count_params():,} parameters",
            "tokens per sample": model.length,
            "image": can.grid and "{} rows, {} columns".format(*can.grid),
            "tokens per block": can.block_size,
            "classes": can.num_classes,
            "network calls per sample": model.steps,
            "sampler": model.sampler,
            "tokenizer": model.tokenizer,
        }
    else:
        facts = {
            "kind": f"{type(model).__name__}, {model.count_params():,} parameters",
            "use": "it judges and writes no samples: for evaluate --reference or --features",
        }
    for name, fact in facts.items():
        if fact is not None:
            print(f"{name:26}{fact}")
    card = inputs.card(args.model)
    if card:
        print(json.dumps(card, indent=1))


@places.tidy
def distill(args):
    checks.count("--rounds", args.rounds)
    checks.count("--steps", args.steps)
    checks.count("--batch-size", args.batch_size)
    inputs.check_seed(args)
    checks.number("--learning-rate", args.learning_rate, above=0.0)
    checks.number("--temperature", args.temperature, above=0.0)
    if args.top_p is not None:
        checks.number("--top-p", args.top_p, above=0.0, high=1.0)
    places.for_a_model(args)
    keras.utils.set_random_seed(args.seed)
    teacher = inputs.sampler(args.model)
    known = inputs.card(args.model)
    if args.guidance is not None and not teacher.capabilities.num_classes:
        raise ValueError("This model has no classes, whose strength --guidance would be.")
    tokens, labels = inputs.rows(args, teacher, known)
    if args.guidance is not None and labels is None:
        raise ValueError("--guidance strengthens classes: give --labels, too.")
    distiller = DMMDDistiller(
        teacher,
        steps=args.steps,
        temperature=args.temperature,
        top_p=args.top_p,
        guidance_scale=args.guidance,
        seed=args.seed,
    )
    epochs, per_epoch = in_epochs("round", args.rounds, ROUNDS_PER_EPOCH)
    args.rounds = epochs * per_epoch  # what the card says
    asked = cards.settings(args)
    teacher_hash = weights_hash(teacher)
    made_from = {"teacher": teacher_hash, "rows": cards.digest(tokens, labels)}
    checkpoint = Checkpoint(os.path.join(args.out, "checkpoint"), {**asked, **made_from})
    watch = WatchRounds(Run(args.rounds, per_epoch, args.out, channels_of(known)))
    distiller.compile(**annealed_optimizers(args.rounds, args.learning_rate))
    distiller.fit(
        tokens,
        labels,
        batch_size=min(args.batch_size, len(tokens)),
        steps_per_epoch=per_epoch,
        epochs=epochs,
        verbose=bar(),
        callbacks=[watch, checkpoint.callback],
    )
    data = cards.data(args, tokens, labels)
    made = cards.made_by(args, data=data, seed=args.seed, teacher=teacher_hash)
    inherited = {name: known[name] for name in ("reading", "license") if name in known}
    presets.save_to_preset(distiller.student, args.out, card={**asked, **made, **inherited})
    checkpoint.remove()
    print(f"The student is in {args.out}: keras-dmmd generate {args.out}")


@places.tidy
def export(args):
    format = format_of(args.out, args.format)
    check_place(args.out, format)
    model = inputs.sampler(args.model)
    made_from = weights_hash(model)
    by_writer = args.int8 and format in WITH_INTEGERS
    if args.int8 and not by_writer:
        model.quantize("int8")
    model.export(
        args.out,
        format,
        kind=args.kind,
        batch=args.batch,
        length=args.length,
        steps=args.steps,
        sampler=args.sampler,
        temperature=args.temperature,
        top_p=args.top_p,
        guidance_scale=args.guidance,
        weights="int8" if by_writer else None,
    )
    cards.write_beside(args.out, cards.made_by(args, settings=cards.settings(args), weights=made_from))
    print(f"The file is {args.out}; what it takes stands in {args.out}.json.")


@places.tidy
def evaluate(args):
    samples = SAMPLES if args.samples is None else args.samples
    check_numbers(args.steps, args.temperatures, args.seeds, samples)
    places.for_a_report(args)
    names = _names(args.models)
    models = {name: inputs.sampler(path) for name, path in zip(names, args.models, strict=True)}
    cards_of = {name: inputs.card(path) for name, path in zip(names, args.models, strict=True)}
    label = _label(args.label, models, cards_of)
    card = cards_of[names[0]]
    data, known = (
        (None, False) if args.data is None else _data_of_label(args, models[names[0]], card, label)
    )
    with sources.options_named({"`preset`": "--features"}):
        features = args.features and metrics.ImageFeatures.from_preset(args.features)
    reference = args.reference and metrics.CausalReference.from_folder(args.reference)
    args.samples = _samples(args, samples, data)
    facts = {
        "settings": cards.settings(args),
        "weights": {name: weights_hash(model) for name, model in models.items()},
        "data": None if data is None else cards.data(args, data),
    }
    asked, data = evaluation.default_metrics(models, args.samples, data, features, reference)
    options = {"labels": label, "guidance_scale": args.guidance, "top_p": args.top_p}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Samples are of class")  # it has been said
        report = evaluation.evaluate(
            models,
            args.steps,
            asked,
            temperatures=args.temperatures,
            samplers=args.samplers,
            reference_data=data,
            reference_labels=np.full(len(data), label) if known else None,
            samples=args.samples,
            seeds=args.seeds,
            folder=args.out,
            title=args.title,
            verbose=bar() or 2,
            **{name: value for name, value in options.items() if value is not None},
        )
    cards.write_into(args.out, cards.made_by(args, **facts))
    print(report)
    print(f"The page: {os.path.join(args.out, 'report.html')}")


def _names(paths):
    """A name for each model: the last part of its path, or all of it where two are alike."""
    names = [os.path.basename(os.path.normpath(path)).removesuffix(".keras") for path in paths]
    names = names if len(set(names)) == len(names) else paths
    if len(set(names)) < len(names):
        raise ValueError(f"The models need different names. Received: {names}")
    return names


def _label(name, models, known):
    """The number of the class of `--label`, which is the same of all models, by their cards."""
    found = {own: inputs.label(name, model, known[own]) for own, model in models.items()}
    if len(set(found.values())) > 1:
        raise ValueError(
            "The class of --label must have the same number in all models: evaluate the others apart. "
            f"Received: {name!r}, whose numbers are {found}"
        )
    return next(iter(found.values()))


def _samples(args, asked, data):
    """How many samples of a cell: as many as were asked for, else what the data allow."""
    if args.samples is not None or data is None:
        return asked
    most = most_samples(len(data), args.features, args.reference)
    samples = most // 2 * 2 if most < asked else asked  # the gradient moment takes pairs
    if not samples:
        raise ValueError(
            f"{args.data} has {len(data)} row(s) for these samples: too few to compare with."
        )
    if samples < asked:
        print(f"{samples} samples per cell: {len(data)} rows of {args.data} allow no more.")
    return samples


def _data_of_label(args, model, card, label):
    """Rows of `--data`, and whether they are known to be of the class of `--label`."""
    tokens, labels = inputs.rows(args, model, card)
    if labels is None and label is not None:
        print(
            f"Samples are of the class --label {args.label}, the rows of {args.data} of any: figures "
            "that compare them say little. --labels or --label-column say of which class a row is.",
            file=sys.stderr,
        )
    if labels is None:
        return tokens, False
    if label is None:
        if args.labels or args.label_column:
            raise ValueError("--labels say which rows are of the --label: give that, too.")
        return tokens, False
    if not (labels == label).any():
        raise ValueError(f"No row of {args.data} is of the class of --label {args.label}.")
    return tokens[labels == label], True
