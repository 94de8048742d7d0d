"""Write `tests/diffusion/numbers.json`: what every backend must give, from the float64 oracle.

Run as `python -m tests.oracles.make_numbers` from the repository's root.
"""

import json
import pathlib

import numpy as np

from tests.oracles import processes as oracle

PATH = pathlib.Path(__file__).parents[1] / "diffusion" / "numbers.json"
K, LENGTH = 4, 3


def rows(function, *columns):
    """`function` of each example, stacked."""
    return np.stack([function(*row) for row in zip(*columns, strict=True)])


def numbers(name):
    """Inputs, and outputs under the linear schedule, of one process."""
    kind, loo_form = name.split("-")[0], name.endswith("loo")
    rng = np.random.default_rng(len(name))
    s, t = np.array([0.0, 0.25, 0.5, 0.8125]), np.array([0.25, 0.625, 0.9375, 0.875])
    logits = rng.normal(size=(4, LENGTH, K)).round(3)
    x = rng.integers(K, size=(4, LENGTH))
    noise = K if kind == "masked" else rng.integers(K, size=x.shape)
    z = np.where(rng.random(x.shape) < 0.4, x, noise)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    alpha, alpha_s = 1 - t, 1 - s

    def to_mean(p, z, alpha):
        return oracle.mean_from_loo(kind, K, alpha, p, z)

    def to_loo(p, z, alpha):
        loo = p / oracle.corruption(kind, K, alpha).T[z]
        return loo / loo.sum(-1, keepdims=True)

    mean = p if name == "uniform" else rows(to_mean, p, z, alpha)
    loo = rows(to_loo, p, z, alpha) if name == "uniform" else p

    def posterior_of_ids(x, z, alpha_s, alpha):
        return oracle.posterior(kind, K, alpha_s, alpha)[x, z]

    def posterior(mean, z, alpha_s, alpha):
        table = np.nan_to_num(oracle.posterior(kind, K, alpha_s, alpha))
        return np.einsum("lk,kls->ls", mean, table[:, z])

    def kl_table(loo, z, alpha):
        every = np.broadcast_to(np.arange(K)[:, None], (K, LENGTH))
        return np.stack([oracle.posterior_kl(K, alpha, loo, x, z) for x in every], axis=-1)

    def nelbo(p, x, z, alpha):
        return oracle.nelbo(kind, K, alpha, -1.0, p[None], x[None], z[None])[0]

    if kind == "masked":
        cost = -np.log(p) * (z == K)[..., None]
    else:
        cost = rows(kl_table, loo, z, alpha) if loo_form else -np.log(p)
    prediction = loo if loo_form else mean
    return {
        "inputs": {"logits": logits, "x": x, "z": z, "s": s, "t": t, "prediction": prediction},
        "mean": mean,
        "posterior_of_ids": rows(posterior_of_ids, x, z, alpha_s, alpha),
        "posterior": rows(posterior, mean, z, alpha_s, alpha),
        "cost": cost,
        "nelbo": rows(nelbo, loo, x, z, alpha),
    }


def plain(tree):
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return (tree if tree.dtype.kind == "i" else tree.round(9)).tolist()


if __name__ == "__main__":
    names = ("masked", "uniform", "uniform-loo")
    PATH.write_text(json.dumps({name: plain(numbers(name)) for name in names}) + "\n")
