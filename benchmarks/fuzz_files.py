"""Files of strangers: thousands of changed ones, each of which must load, or be refused in a sentence.

    python -m benchmarks.fuzz_files --count 2000 --seed 0

Presets, a tokenizer.json, checkpoints and the weights of MDLM are made small and sound, and then
changed at random: bits, missing ends, entries of JSON, declared sizes, pickles that would run. A file
is clear where it loads, because the change did no harm or nothing could show it, and where an error,
`ValueError` or `OSError`, names it; within `--seconds` of the processor, without running anything that
it holds, and without taking more than twice its size in memory. The table counts kinds and outcomes;
every unclear case is printed, kept in `--keep`, and makes the exit status 1.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import selectors
import shutil
import subprocess
import sys
import tempfile

import numpy as np

import keras_dmmd as kd
from benchmarks import mutations
from benchmarks.common import print_table
from benchmarks.fuzz_loader import MB, TEXT, small_model
from keras_dmmd.conversion import dit
from keras_dmmd.tokenizers import BytePairTokenizer

ROOM = 96 * MB  # what a backend may take along, whatever the file
PATIENCE = 60  # seconds of wall time, after which a process is taken for hung
OUTCOMES = ("loads", "refused", "unclear")


# Sound files --------------------------------------------------------------------------------------


def make_sound(folder):
    """Write sound, small files: `{name: (kind, path, the part of it that is changed)}`."""
    folder = pathlib.Path(folder)
    tokenizer = BytePairTokenizer.train([TEXT] * 5, vocabulary_size=270)
    model, words = randomised(small_model()), tokenizer.vocabulary_size
    denoiser = kd.Denoiser(words, hidden_dim=16, num_layers=2, num_heads=2, cond_dim=8, noise="token")
    written = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(words), length=6, tokenizer=tokenizer)
    kd.presets.save_to_preset(model, folder / "plain")
    kd.presets.save_to_preset(randomised(written), folder / "student")
    (folder / "tokenizer.json").write_text(tokenizer.definition, encoding="utf-8")
    model.save_weights(folder / "model.weights.h5")
    model.save(folder / "model.keras")
    sound = {
        "config of a preset": ("preset", folder / "plain", "config.json"),
        "config of a student": ("preset", folder / "student", "config.json"),
        "weights of a preset": ("preset", folder / "plain", "weights.npz"),
        "tokenizer.json": ("tokenizer", folder / "tokenizer.json", None),
        ".weights.h5": ("checkpoint", folder / "model.weights.h5", None),
        ".keras": ("checkpoint", folder / "model.keras", None),
    }
    return sound | make_networks(folder)


def randomised(model):
    """The same model, no weight of which is zero: zeros pack too well to stand for weights."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape).astype("float32"))
    return model


def make_networks(folder):
    """A network under the names of MDLM, as `.safetensors` and as a checkpoint of Lightning."""
    blocks, hidden, states, cond, heads = 2, 16, 11, 12, 2
    shapes = {
        "vocab_embed.embedding": (states, hidden),
        "rotary_emb.inv_freq": (hidden // heads // 2,),
        "sigma_map.mlp.0.weight": (cond, 8),
        "sigma_map.mlp.0.bias": (cond,),
        "sigma_map.mlp.2.weight": (cond, cond),
        "sigma_map.mlp.2.bias": (cond,),
        "output_layer.norm_final.weight": (hidden,),
        "output_layer.adaLN_modulation.weight": (2 * hidden, cond),
        "output_layer.adaLN_modulation.bias": (2 * hidden,),
        "output_layer.linear.weight": (states, hidden),
        "output_layer.linear.bias": (states,),
    }
    one = {
        "norm1.weight": (hidden,),
        "attn_qkv.weight": (3 * hidden, hidden),
        "attn_out.weight": (hidden, hidden),
        "norm2.weight": (hidden,),
        "mlp.0.weight": (4 * hidden, hidden),
        "mlp.0.bias": (4 * hidden,),
        "mlp.2.weight": (hidden, 4 * hidden),
        "mlp.2.bias": (hidden,),
        "adaLN_modulation.weight": (6 * hidden, cond),
        "adaLN_modulation.bias": (6 * hidden,),
    }
    assert set(one) == set(dit.BLOCK.values()) and set(dit.REST.values()) < set(shapes)
    shapes |= {f"blocks.{i}.{name}": shape for i in range(blocks) for name, shape in one.items()}
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    made = {}
    try:
        from safetensors.numpy import save_file

        save_file(arrays, folder / "model.safetensors")
        made[".safetensors"] = ("network", folder / "model.safetensors", None)
    except ImportError:
        print("without safetensors there are no files of it")
    try:
        import torch

        state = {f"backbone.{name}": torch.tensor(array) for name, array in arrays.items()}
        shadow = [value for name, value in state.items() if "inv_freq" not in name]
        content = {"state_dict": state, "ema": {"decay": 0.9, "shadow_params": shadow}, "epoch": 3}
        torch.save(content, folder / "last.ckpt")
        made[".ckpt"] = ("network", folder / "last.ckpt", None)
    except ImportError:
        print("without Torch there are no checkpoints of Lightning")
    return made


# Changed files ------------------------------------------------------------------------------------


def change(rng, path, canary):
    """Change a file in its place at random, in a way that suits its kind; returns what was done."""
    content = path.read_bytes()
    if path.name.endswith(".json"):
        content, what = mutations.change_json(rng, content, canary)
    elif path.suffix == ".safetensors":
        content, what = mutations.change_safetensors(rng, content)
    elif path.suffix == ".h5" and rng.random() < 0.6:
        return mutations.change_h5(rng, path)
    elif path.suffix == ".ckpt" and rng.random() < 0.5:
        return change_ckpt(rng, path, canary)
    elif path.suffix in (".npz", ".keras", ".ckpt") and rng.random() < 0.7:
        content, what = mutations.change_zip(
            rng, content, lambda *member: change_member(*member, path.parent, canary)
        )
    else:
        content, what = mutations.change_bytes(rng, content)
    path.write_bytes(content)
    return what


def change_member(rng, name, content, folder, canary):
    """Change the content of a member of an archive as a file of its name."""
    if name.endswith(".npy"):
        return mutations.change_npy(rng, content, canary)
    if not name.endswith((".json", ".h5")):
        return mutations.change_bytes(rng, content)
    path = folder / f"member.{name.rpartition('.')[2]}"
    path.write_bytes(content)
    try:
        what = change(rng, path, canary)
        return path.read_bytes(), what
    finally:
        path.unlink()


def change_ckpt(rng, path, canary):
    """Change what a checkpoint of Lightning holds, and have Torch write it."""
    import torch

    content = torch.load(path, weights_only=True)
    state = content["state_dict"]
    name = mutations.choose(rng, list(state))
    way = mutations.choose(
        rng, ["stride", "shape", "out", "name", "odd", "type", "ema", "state", "harm"]
    )
    if way == "stride":
        state[name] = torch.ones(1).as_strided((10**11,), (0,))
    elif way == "shape":
        state[name] = torch.cat([state[name]] * 2)
    elif way == "out":
        del state[name]
    elif way == "name":
        names = [
            "blocks.1000000000.norm1.weight",
            "blocks.x",
            "blocks.",
            "",
            "x" * 10**5,
            f"model.{name}",
        ]
        state[mutations.choose(rng, names)] = state[name]
    elif way == "odd":
        state[name] = mutations.choose(rng, [*mutations.ODD, torch.Size([1]), torch.float32])
    elif way == "type":
        kinds = [torch.complex64, torch.bool, torch.int8, torch.bfloat16, torch.float8_e5m2]
        state[name] = state[name].to(mutations.choose(rng, kinds))
    elif way == "ema":
        odd = [*mutations.ODD, {"shadow_params": mutations.choose(rng, mutations.ODD)}]
        content["ema"] = mutations.choose(rng, odd)
    elif way == "state":
        content["state_dict"] = mutations.choose(rng, [*mutations.ODD, list(state), [state]])
    else:
        content["hyper_parameters"] = mutations.choose(rng, mutations.canaries(canary))
    torch.save(content, path)
    return f"checkpoint: {way} at {name}"


# Running ------------------------------------------------------------------------------------------


class Child:
    """A `Loader` in a process of its own, which may hang or die."""

    def __init__(self, canary):
        self._canary, self._process = canary, None

    def _start(self):
        root = pathlib.Path(__file__).resolve().parents[1]
        command = [sys.executable, "-m", "benchmarks.fuzz_loader", self._canary]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(command, **streams, env=environment, cwd=root, text=True)
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._process.stdout, selectors.EVENT_READ)

    def load(self, kind, path):
        if self._process is None:
            self._start()
        answer = ""
        with contextlib.suppress(BrokenPipeError):  # it may be dead
            print(json.dumps([kind, path]), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline() if self._ready.select(PATIENCE) else ""
        if answer:
            return json.loads(answer)
        try:  # its output ends a moment before it does
            how = f"died with status {self._process.wait(1)}"
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            how = f"hung for {PATIENCE} s"
        self._process = None
        return {"outcome": "unclear", "error": f"the process {how}", "cpu": 0.0, "memory": 0}

    def close(self):
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()


def size_of(path):
    """Bytes of a file, or of a folder's files."""
    return sum(p.stat().st_size for p in [path, *path.rglob("*")] if p.is_file())


def run(count, seed, seconds, keep=None, only=None, loader=None):
    """Change and load `count` files; returns outcomes by kind, and the unclear cases.

    Args:
        count: of changed files, shared out over the kinds.
        seed: the same gives the same files.
        seconds: of the processor that a file may take.
        keep: a folder for unclear files, or `None`.
        only: names of kinds; all by default.
        loader: loads files; by default one in another process.
    """
    table, unclear = collections.defaultdict(collections.Counter), []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        canary = str(folder / "canary")
        own = Child(canary) if loader is None else loader(canary)
        sound = {k: v for k, v in make_sound(folder).items() if not only or k in only}
        for name, (kind, path, _) in sound.items():
            found = own.load(kind, str(path))  # what a backend compiles, it compiles here
            if found["outcome"] != "loads":
                raise RuntimeError(f"The sound file of {name} does not load: {found['error']}")
        for i in range(count):
            name = list(sound)[i % len(sound)]
            kind, path, part = sound[name]
            rng = np.random.default_rng([seed, i])
            target = folder / "changed" / path.name
            shutil.rmtree(target.parent, ignore_errors=True)
            target.parent.mkdir()
            (shutil.copytree if path.is_dir() else shutil.copy)(path, target)
            what = change(rng, target / part if part else target, canary)
            size = size_of(target)
            found = own.load(kind, str(target))
            if found["memory"] > 2 * size + ROOM:
                found |= {"outcome": "unclear"}
                found["error"] = f"{found['memory'] / MB:.0f} MB for {size:,} bytes; {found['error']}"
            if found["cpu"] > seconds:
                found |= {"outcome": "unclear", "error": f"{found['cpu']:.1f} s; {found['error']}"}
            table[name][found["outcome"]] += 1
            if found["outcome"] == "unclear":
                unclear.append({"case": i, "kind": name, "change": what, **found})
                remove(canary)
                if keep:
                    shutil.rmtree(os.path.join(keep, str(i)), ignore_errors=True)
                    shutil.copytree(target.parent, os.path.join(keep, str(i)))
        if loader is None:
            own.close()
    return table, unclear


def remove(path):
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def main(argv=None, loader=None):
    """Run it; returns the exit status."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--count", type=int, default=2000, help="changed files [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="the same, the same files [%(default)s]")
    help = "of the processor that a file may take [%(default)s]"
    parser.add_argument("--seconds", type=float, default=1.0, help=help)
    parser.add_argument("--keep", default="runs/fuzz", help="folder of unclear files [%(default)s]")
    parser.add_argument("--only", nargs="+", help="kinds, by their names in the table")
    args = parser.parse_args(argv)
    table, unclear = run(args.count, args.seed, args.seconds, args.keep, args.only, loader)
    rows = [{"kind": name, **{o: counts[o] for o in OUTCOMES}} for name, counts in table.items()]
    rows.append({"kind": "all", **{o: sum(row[o] for row in rows) for o in OUTCOMES}})
    print_table(rows, ["kind", *OUTCOMES])
    for case in unclear:
        print(f"unclear, case {case['case']} of seed {args.seed}: {case['kind']}, {case['change']}")
        print(f"    {case['error']}")
    if unclear:
        print(f"{len(unclear)} of {args.count} files are unclear; they are in {args.keep}.")
    return 1 if unclear else 0


if __name__ == "__main__":
    sys.exit(main())
