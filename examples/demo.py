"""A page that is one file: a student beside its teacher, denoising in the reader's browser.

    KERAS_BACKEND=torch python examples/demo.py

writes `demo.html`, with the networks as int8 ONNX and onnxruntime-web inside: type how a speech begins,
move the slider of calls. Needs `pip install onnx onnxscript`, and `npm`, which fetches
onnxruntime-web once, into FOLDER.
"""

import gzip
import html
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

import numpy as np

import keras_dmmd as kd
from keras_dmmd.files import replacing
from keras_dmmd.tokenizers import CharacterTokenizer

FOLDER = pathlib.Path(os.environ.get("FOLDER", "runs/demo"))
RUNTIME = "onnxruntime-web@1.22.0"  # 1.30 is a quarter larger, and has nothing that these networks need
TEMPLATE = pathlib.Path(__file__).with_name("demo.html")
MOST_CALLS = 64  # of the slider
LEVELS = 31  # of a weight, on either side of 0: 127 make a larger page (benchmarks/coarse_weights.py)
SHOWN = {
    "digits": {
        "title": "Digits",
        "note": "Sixteen images of 8×8 pixels, 64 tokens each. In few calls the teacher's pixels know "
        "little of each other.",
        "teacher": "digits_masked_teacher",
        "student": "digits_masked_student",
        "rows": 16,
    },
    "speeches": {
        "title": "Speeches",
        "note": "128 letters in the manner of State of the Union addresses, which begin as you say.",
        "teacher": "sotu_chars_teacher",
        "student": "sotu_chars_student",
        "rows": 2,
        "prompt": "we must ",
    },
}


def runtime(folder=FOLDER):
    """The files of onnxruntime-web, `(script, loader, wasm)`, from npm, once."""
    folder = pathlib.Path(folder) / RUNTIME
    names = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
    if not all((folder / name).exists() for name in names):
        with tempfile.TemporaryDirectory() as place:
            command = ["npm", "pack", "--silent", "--pack-destination", place, RUNTIME]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (archive,) = pathlib.Path(place).glob("*.tgz")
            with tarfile.open(archive) as files:
                for name in names:
                    with replacing(folder / name) as path:
                        content = files.extractfile(f"package/dist/{name}").read()
                        pathlib.Path(path).write_bytes(content)
    return tuple((folder / name).read_bytes() for name in names)


def rounded(table, levels=LEVELS):
    """Weights `(rows, columns)` as few integers, `-levels ... levels`, and a scale for each column.

    The scales are those of 13, from 0.4 to 1 times the one that leaves no weight out, whose squares of
    errors add up to the least.
    """
    whole = np.maximum(np.abs(table).max(axis=0), 1e-12) / levels
    scales = np.linspace(0.4, 1.0, 13)[:, None] * whole
    integers = [np.clip(np.rint(table / scale), -levels, levels) for scale in scales]
    errors = [np.square(x * y - table).sum(axis=0) for x, y in zip(integers, scales, strict=True)]
    best, columns = np.argmin(errors, axis=0), np.arange(table.shape[1])
    return np.stack(integers)[best, :, columns].T.astype("int8"), scales[best, columns]


def coarse(path):
    """An int8 ONNX file with `rounded` weights, bytes: as large as before, but easier to pack."""
    import onnx  # which not every reader of this module has

    model = onnx.load(path)
    tables = {table.name: table for table in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            values = [onnx.numpy_helper.to_array(tables[name]) for name in node.input]
            parts = rounded(values[0] * values[1].astype("float64"))
            for name, part, value in zip(node.input, parts, values, strict=True):
                part = onnx.numpy_helper.from_array(part.astype(value.dtype), name)
                tables[name].CopyFrom(part)
    return model.SerializeToString()


def network(model):
    """One step of a model, int8 ONNX."""
    if not model.process.absorbing:
        raise ValueError(f"The page begins with masks. Received: {model.process!r}")
    if model.capabilities.num_classes:
        raise ValueError("The page has no choice of classes, which this model has.")
    if model.capabilities.grid is None and not isinstance(model.tokenizer, CharacterTokenizer):
        raise ValueError(f"The page shows images, or characters. Received: {model.tokenizer!r}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "step.onnx")
        model.export(path, kind="step", steps=MOST_CALLS, sampler="ancestral", weights="int8")
        return coarse(path)


def facts(name, shown, model):
    """What the page's script has to know of a pair of models."""
    return {
        "name": name,
        "title": shown["title"],
        "note": shown["note"],
        "rows": shown["rows"],
        "prompt": shown.get("prompt", ""),
        "length": model.length,
        "vocabulary_size": model.process.vocabulary_size,
        "image": model.capabilities.grid,
        "characters": None if model.capabilities.grid else model.tokenizer.symbols,
    }


def page(shown, title="Few calls or many", files=None, pause=60):
    """The page, HTML.

    Args:
        shown: for each pair by its name a dict: title, note, rows, perhaps a prompt, and teacher and
            student, names of presets or models.
        title: of the page.
        files: what `runtime` returned.
        pause: between two calls, milliseconds, for the eye.
    """
    parts, models = dict(zip(("runtime", "loader", "wasm"), files or runtime(), strict=True)), []
    networks = {}
    for name, pair in shown.items():
        for role in ("teacher", "student"):
            model = kd.from_preset(pair[role]) if isinstance(pair[role], str) else pair[role]
            if model not in networks:
                networks[model] = network(model)
            parts[f"{name}.{role}"] = networks[model]
        models.append(facts(name, pair, model))
    data = [
        f'<script type="text/plain" id="{name}">{packed(part)}</script>' for name, part in parts.items()
    ]
    text = json.dumps(models).replace("<", "\\u003c")
    data.append(f'<script type="application/json" id="models">{text}</script>')
    filled = {"title": html.escape(title), "pause": str(pause), "data": "\n".join(data)}
    return re.sub(r"{{(\w+)}}", lambda found: filled[found[1]], TEMPLATE.read_text(encoding="utf-8"))


def packed(content):
    """Bytes, compressed, as text of a page: seven bits a character, where base64 has six.

    The two characters that a page does not keep, and the one that could end an element, are moved to
    where UTF-8 takes two bytes.
    """
    bits = np.unpackbits(np.frombuffer(gzip.compress(content, mtime=0), "uint8"))
    bits = np.pad(bits, (0, -len(bits) % 7)).reshape(-1, 7)
    values = bits @ (1 << np.arange(7)[::-1])
    values += 128 * np.isin(values, [ord(character) for character in "\0\r<"])
    return "".join(map(chr, values))


def main(names):
    unknown = sorted(set(names) - SHOWN.keys())
    if unknown:
        raise SystemExit(f"There are {', '.join(SHOWN)}. Received: {', '.join(unknown)}")
    made = page({name: SHOWN[name] for name in names or SHOWN})
    made = made.encode()
    with replacing(FOLDER / "demo.html") as path:
        pathlib.Path(path).write_bytes(made)
    print(f"{FOLDER / 'demo.html'}: {len(made) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
