"""Write `tests/presets/golden.npz`: what every shipped model draws for a seed, on each backend.

Run as `KERAS_BACKEND=jax python -m pytest tests/oracles/make_golden.py` and so on, one backend after
the other, under the settings of the tests; each adds its own entries. What changes a sampler's draws on
purpose does this again; nothing else may change them.
"""

import pathlib

import keras
import numpy as np

import keras_dmmd as kd

PATH = pathlib.Path(__file__).parents[1] / "presets" / "golden.npz"
JUDGES = ("_reference", "_features")
PRESETS = [name for name in kd.presets.names() if not name.endswith(JUDGES)]


def classes():
    """A small model with labels and a random input, its weights drawn by numpy."""
    denoiser = kd.Denoiser(
        7, hidden_dim=16, num_layers=1, num_heads=2, cond_dim=8, num_classes=3, noise="token"
    )
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(7), length=12)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) * 0.4 for w in model.get_weights()])
    return model


def draws(name):
    """`{label: ids}` of one preset, or of `"classes"`."""
    model = classes() if name == "classes" else kd.from_preset(name)
    found = {"plain": model.generate(8, steps=4, seed=0)}
    if name == "classes":
        options = {"labels": 1, "guidance_scale": 2.0, "temperature": 0.7, "top_p": 0.9}
        return found | {"guided": model.generate(8, steps=5, seed=1, **options)}
    found["sharp"] = model.generate(4, steps=3, seed=1, temperature=0.8, top_p=0.95)
    if name.startswith("sotu"):
        prompt = model.tokenizer.encode("the president of ")
        found["prompt"] = model.generate(4, steps=4, seed=2, prompts=[[prompt]])
    else:
        known = np.arange(model.length) % 3 == 0
        given = np.where(known, 1, 0)
        given, known = (np.broadcast_to(a, (4, model.length)) for a in (given, known))
        found["known"] = model.generate(4, steps=4, seed=2, prompts=given, known=known)
    return found


def test_write():
    kept = dict(np.load(PATH)) if PATH.exists() else {}
    backend = keras.backend.backend()
    for name in [*PRESETS, "classes"]:
        for label, ids in draws(name).items():
            kept[f"{backend}/{name}/{label}"] = ids.astype("uint8")
    np.savez_compressed(PATH, **kept)
