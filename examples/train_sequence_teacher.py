"""Train the teachers of text, molecules and proteins that ship with the package.

    python examples/train_sequence_teacher.py --data sotu --out runs/sotu_chars_teacher

Proteins are the loops of T-cell receptors that OLGA draws (`pip install olga`, GPL-3):

    olga-generate_sequences --humanTRB -n 1000000 --seed 0 -o loops.tsv
    python examples/train_sequence_teacher.py --data proteins --path loops.tsv --out runs/proteins

Any backend. Writes the preset, and the training log beside it. A run that was interrupted goes on when
it is started again; `--init runs/first` begins a further phase with the weights of a former one, which
a network of blocks (`--block-size 16`) can take from one of whole rows, and one of more layers
(`--layers 8`) from one of fewer: a new block does nothing at first, since its gates are zero. The chain
of `continued_from` in `card.json` has the arguments of every phase.
"""

import argparse
import functools
import os
import pathlib
import time

import keras
import numpy as np

import keras_dmmd as kd
from keras_dmmd.evaluation.machine import machine

PROCESSES = {"masked": kd.MaskedDiffusion, "uniform": kd.UniformDiffusion}
SIZE = {"hidden_dim": 128, "num_layers": 4}
# Muon for the matrices inside the blocks; embeddings, modulation and head stay with Adam.
OPTIMIZERS = {
    "adamw": keras.optimizers.AdamW,
    "muon": functools.partial(
        keras.optimizers.Muon,
        adam_weight_decay=0.03,
        exclude_layers=["embedding", "modulation", "head"],
    ),
}
TASKS = {
    "sotu": "State of the Union, 27 characters (datasets.text8), rows of 128",
    "moses": "MOSES molecules, SMILES tokens, rows of 56",
    "proteins": "CDR3 loops of human T-cell receptors (beta chains), by OLGA, rows of 24",
}


TOKENIZERS = {
    "sotu": kd.tokenizers.CharacterTokenizer(),
    "moses": kd.tokenizers.SmilesTokenizer(),
    "proteins": kd.tokenizers.CharacterTokenizer("ACDEFGHIKLMNPQRSTVWY", end=True),
}


def load_sotu(tokenizer, path=None, length=128, cuts=4, download=True):
    """`train, held_out`: the last 12 speeches are held out; rows begin at `cuts` places of a row."""
    parts = kd.datasets.load_sotu(path, download=download and path is None)
    train, held_out = ("".join(kd.datasets.text8(text) + " " for text in part) for part in parts)
    starts = [i * length // cuts for i in range(cuts)]
    rows = [kd.datasets.pack([train[start:]], tokenizer, length) for start in starts]
    return np.concatenate(rows), kd.datasets.pack([held_out], tokenizer, length)


def load_moses(tokenizer, path=None, length=56, held_out=10_000):
    """`train, held_out`: the training split, and molecules of the test split."""
    train, test, _ = kd.datasets.load_moses(path)
    order = np.random.default_rng(0).permutation(len(test))[:held_out]
    test = [test[i] for i in order]
    return tuple(tokenizer.encode_batch(part, length) for part in (train, test))


def load_proteins(tokenizer, path, length=24, held_out=10_000):
    """`train, held_out`: the second column of OLGA's file; its last rows are held out."""
    if path is None:
        raise SystemExit("--data proteins needs --path, the file that olga-generate_sequences wrote.")
    loops = [line.split("\t")[1] for line in pathlib.Path(path).read_text().splitlines()]
    loops = [loop for loop in loops if len(loop) <= length]  # all but one in two thousand
    rows = tokenizer.encode_batch(loops, length)
    return rows[:-held_out], rows[-held_out:]


LOADERS = {"sotu": load_sotu, "moses": load_moses, "proteins": load_proteins}


def load(name, path=None, cache=None):
    """`tokenizer, train, held_out`; the rows from the file `cache` if it is there, else into it."""
    tokenizer = TOKENIZERS[name]
    if cache and os.path.exists(cache):
        with np.load(cache) as file:
            return tokenizer, *(file[part].astype("int32") for part in ("train", "held_out"))
    train, held_out = LOADERS[name](tokenizer, path)
    if cache:
        np.savez_compressed(cache, train=train.astype("uint8"), held_out=held_out.astype("uint8"))
    return tokenizer, train, held_out


def build(process, tokenizer, length, size, dropout, block_size=None):
    blocks = {"block_size": block_size} if block_size else {}
    denoiser = (kd.BlockDenoiser if block_size else kd.Denoiser)(
        vocabulary_size=tokenizer.vocabulary_size,
        num_states=process.num_states,
        num_heads=max(1, size["hidden_dim"] // 32),
        dropout=dropout,
        **size,
        **blocks,
    )
    return kd.DiffusionModel(denoiser, process, length=length, tokenizer=tokenizer)


def start_from(teacher, other):
    """Give a network the weights of another one, by their paths; what that lacks stays as it is."""
    weights = {v.path.split("/", 1)[-1]: v for v in other.weights}
    own = {v.path.split("/", 1)[-1]: v for v in teacher.weights}
    if not weights.keys() <= own.keys():
        raise ValueError(f"The network has no place for {sorted(weights.keys() - own.keys())}.")
    for name, weight in weights.items():
        own[name].assign(keras.ops.convert_to_numpy(weight))


def bits(teacher, tokens):
    """NELBO in bits per token, and its standard error."""
    metric = kd.metrics.BitsPerToken(teacher)
    metric.update_state(tokens)
    return tuple(metric.result().values())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=sorted(TASKS), required=True)
    parser.add_argument("--path", help="where the data lie, see keras_dmmd.datasets")
    parser.add_argument("--cache", help="a .npz file to keep encoded rows in, and take them from")
    parser.add_argument("--process", choices=sorted(PROCESSES), default="masked")
    parser.add_argument("--steps", type=int, default=20_000, help="updates")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--hidden", type=int, help="features; those of the shipped teacher by default")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--block-size", type=int, help="write block after block of so many tokens")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adamw")
    parser.add_argument(
        "--policy", default="float32", help="or mixed_bfloat16: see keras.dtype_policies"
    )
    parser.add_argument("--log-every", type=int, default=500, help="updates: a log line, a backup")
    parser.add_argument("--init", help="a preset to go on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)
    args = parser.parse_args(argv)

    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy(args.policy)
    tokenizer, train, held_out = load(args.data, args.path, args.cache)
    size = dict(SIZE)
    size |= {"hidden_dim": args.hidden} if args.hidden else {}
    size |= {"num_layers": args.layers} if args.layers else {}
    process = PROCESSES[args.process](tokenizer.vocabulary_size)
    teacher = build(process, tokenizer, train.shape[1], size, args.dropout, args.block_size)
    if args.init:
        start_from(teacher, kd.from_preset(args.init))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, args.steps, warmup_target=args.learning_rate, warmup_steps=args.steps // 20, alpha=0.01
    )
    teacher.compile(
        OPTIMIZERS[args.optimizer](
            schedule, weight_decay=0.03, global_clipnorm=1.0, use_ema=True, ema_momentum=0.999
        )
    )
    os.makedirs(args.out, exist_ok=True)
    epoch = min(args.log_every, args.steps)
    start = time.time()
    teacher.fit(
        train,
        batch_size=args.batch_size,
        steps_per_epoch=epoch,
        epochs=args.steps // epoch,
        verbose=2,
        callbacks=[
            kd.callbacks.BackupAndResume(os.path.join(args.out, "backup")),
            keras.callbacks.CSVLogger(os.path.join(args.out, "training.csv"), append=True),
        ],
    )
    minutes = (time.time() - start) / 60
    figures = {name: bits(teacher, x) for name, x in (("held_out", held_out), ("train", train[:2000]))}
    kd.presets.save_to_preset(
        teacher,
        args.out,
        card={
            "task": TASKS[args.data],
            "script": "examples/train_sequence_teacher.py",
            "process": args.process,
            "seed": args.seed,
            "updates": args.steps,
            "batch_size": args.batch_size,
            "optimizer": args.optimizer,
            "learning_rate": args.learning_rate,
            "dropout": args.dropout,
            "block_size": args.block_size,
            "policy": args.policy,
            "continued_from": kd.presets.read_card(args.init) if args.init else None,
            "parameters": int(teacher.count_params()),
            "nelbo_bits_per_token": {k: [round(v, 4) for v in pair] for k, pair in figures.items()},
            "minutes": round(minutes, 1),
            "machine": machine(),
        },
    )
    for name, (mean, error) in figures.items():
        print(f"{name}: {kd.metrics.with_error(mean, error)} bits per token")


if __name__ == "__main__":
    main()
