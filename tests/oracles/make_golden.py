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
    noise = kd.models.TokenNoise(16, symbols=32, name="noise")
    denoiser = kd.Denoiser(
        7, hidden_dim=16, num_layers=1, num_heads=2, cond_dim=8, num_classes=3, noise=noise
    )
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(7), length=12)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) * 0.4 for w in model.get_weights()])
    return model


def draws(name):
    """`{label: ids}` of one preset, or of `"classes"`, in every way there is."""
    if name != "classes":
        return {"plain": kd.from_preset(name).generate(4, steps=3, seed=0)}
    model = classes()
    known = np.broadcast_to(np.arange(model.length) % 3 == 0, (4, model.length))
    guided = {"labels": 1, "guidance_scale": 2.0, "temperature": 0.7, "top_p": 0.9}
    return {
        "plain": model.generate(8, steps=4, seed=0),
        "guided": model.generate(8, steps=5, seed=1, **guided),
        "known": model.generate(4, steps=4, seed=2, prompts=np.where(known, 1, 0), known=known),
    }


def test_write():
    backend = keras.backend.backend()
    kept = dict(np.load(PATH)) if PATH.exists() else {}
    kept = {key: ids for key, ids in kept.items() if not key.startswith(f"{backend}/")}
    for name in [*PRESETS, "classes"]:
        for label, ids in draws(name).items():
            kept[f"{backend}/{name}/{label}"] = ids.astype("uint8")
    np.savez_compressed(PATH, **kept)
