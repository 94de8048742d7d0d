import numpy as np


def randomise(layer, seed=0, scale=0.3):
    """Give every weight random values, zero-initialised ones too, and return the layer."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if "seed" not in weight.path:
            weight.assign(rng.normal(size=weight.shape).astype("float32") * scale)
    return layer
