"""`keras-dmmd train`: a model of one's own data, from the start."""

import os
import shlex

import keras

from keras_dmmd import checks, presets
from keras_dmmd.cli import cards, inputs, places, training_data
from keras_dmmd.cli.checkpoint import Checkpoint
from keras_dmmd.cli.pictures import channels_of
from keras_dmmd.cli.showing import bar
from keras_dmmd.cli.watching import Clock, Run, Watch, in_epochs
from keras_dmmd.diffusion import MaskedDiffusion, UniformDiffusion
from keras_dmmd.metrics.statistics import with_error
from keras_dmmd.models import BlockDenoiser, Denoiser
from keras_dmmd.training import DiffusionModel

UPDATES = 5000  # where nobody says
LOOKS = 20  # at a run, at most, but
EPOCH = (10, 500)  # updates between two of them, at least and at most
WATCHED = 512  # held-out rows that are measured on the way
MEASURED = 4096  # rows that are measured at the end
CORRUPTIONS = 4  # of each of these
LABEL_DROPOUT = 0.1  # what guidance needs
PROCESSES = {"masked": MaskedDiffusion, "uniform": UniformDiffusion}


@places.tidy
def train(args):
    for option in ("updates", "every", "batch_size"):
        if vars(args)[option] is not None:
            checks.count("--" + option.replace("_", "-"), vars(args)[option])
    inputs.check_seed(args)
    checks.number("--learning-rate", args.learning_rate, above=0.0)
    if args.minutes is not None:
        checks.number("--minutes", args.minutes, above=0.0)
    places.for_a_model(args)
    data = training_data.read(args)
    batch_size = min(args.batch_size, len(data.rows))
    keras.utils.set_random_seed(args.seed)
    model = build(args, data)
    print(
        f"{len(data.rows):,} rows of {model.length} tokens of {data.vocabulary_size}, "
        f"{len(data.held_out):,} held out; {model.count_params():,} weights"
    )
    parts = (data.rows, data.labels, data.held_out, data.held_out_labels)
    settings = {**cards.settings(args), "rows": cards.digest(*parts)}
    checkpoint = Checkpoint(os.path.join(args.out, "checkpoint"), settings)
    updates = args.updates or UPDATES
    if args.minutes is not None:
        updates = checkpoint.remember("updates", lambda: updates_in(args, data, batch_size))
    least, most = EPOCH
    every = args.every or max(least, min(-(-updates // LOOKS), most))
    epochs, per_epoch = in_epochs("update", updates, every)
    updates = epochs * per_epoch
    model.compile(optimizer(updates, args.learning_rate))
    held_out = _first(data.held_out, data.held_out_labels, WATCHED)
    channels = channels_of({"reading": data.reading})
    watch = Watch(Run(updates, per_epoch, args.out, channels, held_out, batch_size))
    model.fit(
        data.rows,
        data.labels,
        batch_size=batch_size,
        steps_per_epoch=per_epoch,
        epochs=epochs,
        verbose=bar(),
        callbacks=[watch, checkpoint.callback],
    )
    figures = {
        name: bits(model, part, batch_size)
        for name, part in (
            ("held_out", _first(data.held_out, data.held_out_labels, MEASURED)),
            ("train", _first(data.rows, data.labels, MEASURED)),
        )
        if part is not None
    }
    card = cards.made_by(
        args,
        data=cards.data(args, *parts),
        seed=args.seed,
        updates=updates,
        process=args.process,
        size=args.size,
        batch_size=batch_size,
        learning_rate=args.learning_rate,
        dropout=args.dropout,
        block_size=args.blocks,
        reading=data.reading,
        license=args.license,
        parameters=int(model.count_params()),
        nelbo_bits_per_token=figures,
        minutes=round(watch.seconds / 60, 2),
    )
    presets.save_to_preset(model, args.out, card=card)
    checkpoint.remove()
    for name, (mean, error) in figures.items():
        print(f"{name.replace('_', '-')} data: {with_error(mean, error)} bits per token")
    following = shlex.join(["keras-dmmd", "distill", args.out, "--data", args.data, "--out", "STUDENT"])
    print(f"The model is in {args.out}: {following}")


def build(args, data):
    """The model that a command line describes, for such data."""
    process = PROCESSES[args.process](data.vocabulary_size)
    options = {"grid": data.grid} if data.grid is not None else {}
    if args.blocks is not None:
        if data.grid is not None:
            raise ValueError("--blocks follow each other in texts: images take none.")
        options = {"block_size": args.blocks}
    denoiser = (Denoiser if args.blocks is None else BlockDenoiser)(
        data.vocabulary_size,
        num_states=process.num_states,
        num_classes=data.num_classes,
        dropout=args.dropout,
        dtype=args.precision,
        **Denoiser.sizes[args.size],
        **options,
    )
    length = data.rows.shape[1]
    model = DiffusionModel(
        denoiser,
        process,
        length=length,
        steps=min(64, args.blocks or length),
        tokenizer=data.tokenizer,
        label_dropout=LABEL_DROPOUT if data.num_classes else 0.0,
        seed=args.seed,
    )
    model.build((None, length))
    return model


def optimizer(updates, learning_rate):
    """AdamW whose rate rises over a twentieth of the run and falls along a cosine; the weights are an
    average over about its last twelfth."""
    warmup = updates // 20
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else learning_rate,
        updates - warmup,
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
        alpha=0.01,
    )
    return keras.optimizers.AdamW(
        schedule,
        weight_decay=0.03,
        global_clipnorm=1.0,
        use_ema=True,
        ema_momentum=updates / (updates + 12),
    )


def updates_in(args, data, batch_size):
    """How many updates `--minutes` hold, by a few of a model that is then forgotten."""
    model, clock = build(args, data), Clock(5)
    model.compile(optimizer(1000, args.learning_rate))
    model.fit(
        data.rows,
        data.labels,
        batch_size=batch_size,
        steps_per_epoch=clock.per_epoch,
        epochs=200,
        verbose=0,
        callbacks=[clock],
    )
    updates = max(1, round(60 * args.minutes / clock.seconds))
    print(f"An update takes {clock.seconds:.3g} s: {updates:,} in {args.minutes:g} minutes.")
    return updates


def bits(model, part, batch_size):
    """NELBO in bits per token and its standard error, rounded; `None` for one that is unknown."""
    found = model.evaluate(
        *part, corruptions=CORRUPTIONS, batch_size=batch_size, verbose=0, return_dict=True
    )
    values = [float(found[name]) for name in ("bits_per_dim", "bits_per_dim_error")]
    return [None if value != value else round(value, 4) for value in values]


def _first(rows, labels, most):
    """At most so many rows, and their labels, as `fit` and `evaluate` take them; `None` for none."""
    if not len(rows):
        return None
    return (rows[:most],) if labels is None else (rows[:most], labels[:most])
