"""The page of a model at a hub, its README.md, made from a preset's own card."""

import json
import os
import re

from keras_dmmd import checks
from keras_dmmd.files import read_json

# No index of packages has the library's name yet.
INSTALL = 'pip install "keras-dmmd @ git+https://github.com/keras-dmmd/keras_dmmd"'
MADE = "<!-- made from card.json by keras_dmmd -->"  # in a page that may be made again
LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


def model_card(folder, name, license=None):
    """The page of a preset, Markdown, below a header of YAML that hubs read.

    Args:
        folder: the preset.
        name: by which others load it, a handle.
        license: its identifier, such as `"apache-2.0"`; by default what the preset's card says under
            `"license"`, if anything.

    Returns:
        A string.

    Raises:
        ValueError: `license` is no identifier, or a file of the preset is none of JSON.
    """
    model, card = read_json(os.path.join(folder, "config.json")), _card(folder)
    license = license_of(folder, license)
    config = model.get("config", {})
    kind = str(model.get("class_name"))
    samples = kind == "DiffusionModel"
    facts = {"license": license or "not stated", "kind": kind}
    use = f'import keras_dmmd as kd\n\nmodel = kd.from_preset("{name}")\n'
    if samples:
        facts |= _facts(config)
        # A prompt and its sample are strings where there is a tokenizer.
        texts = "model.tokenizer.decode(model.generate(4))" if config.get("tokenizer") else None
        use += f"{texts or 'model.generate(4)  # ids (4, length)'}\n"
    parts = [
        _header(license, config if samples else {}),
        MADE,
        f"# {name.rstrip('/').rsplit('/', 1)[-1]}",
        *([str(card["task"])] if "task" in card else []),
        f"```\n{INSTALL}\n```\n\n```python\n{use}```",
        "| | |\n|---|---|\n" + "\n".join(f"| {k} | {_cell(v)} |" for k, v in facts.items()),
        *_how(card),
        f"## Card\n\n```json\n{json.dumps(card, indent=1)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def license_of(folder, license=None):
    """The identifier of a preset's license: what is given, or what its card says, or `None`.

    Raises:
        ValueError: it is no identifier.
    """
    license = _card(folder).get("license") if license is None else license
    if license is not None and not (isinstance(license, str) and LICENSE.fullmatch(license)):
        raise ValueError(
            f"`license` must be an identifier such as 'apache-2.0'. Received: {checks.shown(license)}"
        )
    return license


def _card(folder):
    path = os.path.join(folder, "card.json")
    return read_json(path) if os.path.exists(path) else {}


def _header(license, config):
    denoiser = config.get("denoiser") or {}
    lines = [] if license is None else [f"license: {license}"]
    lines += ["library_name: keras", "tags:", "- keras-dmmd", "- discrete-diffusion"]
    if config.get("tokenizer"):
        lines.append("pipeline_tag: text-generation")
    elif (denoiser.get("config") or {}).get("grid"):
        lines.append("pipeline_tag: unconditional-image-generation")
    return "\n".join(["---", *lines, "---"])


def _facts(config):
    """What a `DiffusionModel` is, by its config."""
    parts = {name: config.get(name) or {} for name in ("process", "denoiser", "sampler", "tokenizer")}
    facts = {name: part.get("class_name") for name, part in parts.items()}
    denoiser = parts["denoiser"].get("config") or {}
    facts |= {
        "network calls per sample": config.get("steps"),
        "tokens per sample": config.get("length"),
        "vocabulary": denoiser.get("vocabulary_size"),
        "classes": denoiser.get("num_classes"),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _how(card):
    """How to make it again, and what was measured, as far as its card says."""
    if "command" in card:
        yield f"## How it was made\n\n```\n{card['command']}\n```"
    figures = {k: v for k, v in card.items() if "bits_per" in k}
    if figures:
        rows = [f"- {k.replace('_', ' ')}: {json.dumps(v)}" for k, v in figures.items()]
        yield "## Measured\n\n" + "\n".join(rows)


def _cell(value):
    return str(value).replace("|", "\\|").replace("\n", " ")
