"""Whether a process of one's own is one: what must hold of its noise and posterior, by enumeration.

Numpy, and the process's public methods alone, so that a slip in one of them shows in another.
"""

import numpy as np
from keras import ops

from keras_dmmd import backend, checks
from keras_dmmd.configs import check_config
from keras_dmmd.diffusion.process import DiffusionProcess
from keras_dmmd.tensors import SIGNAL_FLOOR

# Between those at which noise may have a kink.
TIMES = (0.107, 0.353, 0.611, 0.847, 1.0)
EARLIER, LATER = 0.353, 0.847  # of a step of the posterior
STEP = 1e-3  # of the finite difference
NEAR = 2e-3  # of probabilities
NEAR_SLOPE = 2e-2  # of derivatives: a third one may be large
NEAR_BOUND = 0.02  # the share of the entropy by which a sum over times may miss an integral
LEVELS = 400  # of that sum
MOST_WORDS = 64  # of which posteriors are enumerated
MOST_WORDS_OF_BOUND = 12


def check_process(process):
    """Refuse a process whose methods contradict each other.

    Of its noise and posterior `DiffusionModel` asks as much of every process that is not of this
    library: noise is `(batch, num_states)` probabilities; `noise_derivative` is its finite difference;
    an absorbing process has one state more than tokens, and all noise there; `q(z_t | z_s)` is nowhere
    negative; and, with a transition `q(z_t | z_s)` that is the same for all x (of which only the sum
    over z_t is asked of a model whose process has a `posterior` of its own: it may sample without),

        q(z_t | x) q(z_s | z_t, x) = q(z_s | x) q(z_t | z_s)

    Here the bound is asked for, too: of one token under the denoiser that is exact, the mean of `nelbo`
    over times is the entropy of the data. (A lower bound would be bits that nobody can have.)

    Args:
        process: a `keras_dmmd.DiffusionProcess` of at most 12 tokens, for a test or a notebook.

    Raises:
        ValueError: something does not hold; it says what.

    Example:

    ```python
    kd.check_process(kd.HybridDiffusion(4, schedule="cosine"))
    ```
    """
    if not isinstance(process, DiffusionProcess):
        raise ValueError(f"`process` must be a DiffusionProcess. Received: {checks.shown(process)}")
    words = checks.count(
        "process.vocabulary_size", process.vocabulary_size, least=2, most=MOST_WORDS_OF_BOUND
    )
    _check_noise_and_posterior(process, markov=True)
    data = np.arange(1, words + 1) / (words * (words + 1) / 2)  # every token another probability
    entropy = -(data * np.log(data)).sum()
    bound = _bound(process, data)
    _require(
        abs(bound - entropy) < NEAR_BOUND * entropy,
        process,
        f"has a bound of {bound:.4f} nats where the data have {entropy:.4f}, which the exact denoiser "
        "comes to: see `nelbo_cost`, `nelbo_weight` and `noise_derivative`",
    )


def probe(process):
    """Refuse a process that is not of this library where its noise or posterior cannot be."""
    if not type(process).__module__.startswith("keras_dmmd."):
        # A posterior of one's own may sample rightly without a Markov process, as DDIM's does.
        _check_noise_and_posterior(process, markov=not _has_own(process, "posterior"))
        process.constant_prior  # noqa: B018, asked on the host, once


def _check_noise_and_posterior(process, markov):
    check_config("process", process, DiffusionProcess)
    noise = {t: _noise(process, t) for t in TIMES}
    if process.absorbing:
        _check_absorbing(process, noise)
    if not _has_own(process, "nelbo_cost"):
        _check_derivative(process)
    if not _has_own(process, "posterior") and not _has_own(process, "marginal"):
        _check_transitions(process, noise)
    if process.vocabulary_size <= MOST_WORDS:
        _check_posterior(process, markov)


def _check_absorbing(process, noise):
    mask = process.vocabulary_size
    _require(
        process.num_states == mask + 1 and all(row[mask] > 1.0 - NEAR for row in noise.values()),
        process,
        f"is absorbing, so it has one state beside its tokens, the mask, id {mask}, and all noise is "
        "on that: see `num_states` and `noise`, or leave `absorbing` out",
    )


def _check_derivative(process):
    for t in TIMES[:-1]:
        wanted = (_noise(process, t + STEP) - _noise(process, t - STEP)) / (2 * STEP)
        found = _row(process, "noise_derivative", t)
        _require(
            np.abs(found - wanted).max() < NEAR_SLOPE * max(1.0, np.abs(wanted).max()),
            process,
            f"has noise that moves by {_short(wanted)} at t={t}, where `noise_derivative` says "
            f"{_short(found)}",
        )


def _check_transitions(process, noise):
    """`q(z_t | z_s) = α_ts [z_t = z_s] + (1 - α_t) π_t - α_ts (1 - α_s) π_s`: its noise, `>= 0`."""
    alpha, _ = _called(process, process.signal, np.array(TIMES, "float32"))
    alpha = dict(zip(TIMES, alpha, strict=True))
    for s in TIMES:
        for t in (later for later in TIMES if later > s):
            kept = alpha[t] / max(alpha[s], SIGNAL_FLOOR)
            added = (1.0 - alpha[t]) * noise[t] - kept * (1.0 - alpha[s]) * noise[s]
            _require(
                added.min() > -NEAR,
                process,
                f"is no Markov process: from s={s} to t={t} noise would come in with {_short(added)}. "
                "It may move only as fast as there is more of it",
            )


def _check_posterior(process, markov):
    """`q(z_t | x) q(z_s | z_t, x) = q(z_s | x) q(z_t | z_s)`, the last of which knows no `x`.

    Where that is not asked, its sum over z_t is, `q(z_s | x)`. Of one position: a process that tells
    positions apart is left alone.
    """
    words, states = process.vocabulary_size, process.num_states
    pairs = words * states
    x = np.arange(words, dtype="int32")[:, None]
    earlier = _called(process, process.marginal, x, _full(EARLIER, words))[:, 0]
    later = _called(process, process.marginal, x, _full(LATER, words))[:, 0]
    z = np.tile(np.arange(states, dtype="int32"), words)[:, None]
    times = _full(EARLIER, pairs), _full(LATER, pairs)
    found = _called(process, process.posterior, np.repeat(x, states, axis=0), z, *times)
    if found.shape != (pairs, 1, states) or earlier.shape != (words, states):
        return
    found = found.reshape(words, states, states)
    found = np.where(later[..., None] > 0, found, 0.0)  # of what cannot be, anything may be said
    joint = later[..., None] * found  # (x, z_t, z_s)
    transition = joint.sum(0) / np.maximum(earlier.sum(0), 1e-12)
    found = {"Σ q(z_t | x) q(z_s | z_t, x) and q(z_s | x) differ": joint.sum(1) - earlier}
    if markov:
        found["q(z_t | z_s) differs between clean tokens"] = joint - transition * earlier[:, None]
    for what, difference in found.items():
        _require(
            np.abs(difference).max() < NEAR,
            process,
            f"contradicts itself: {what} by {np.abs(difference).max():.2g} at s={EARLIER}, t={LATER}: "
            "see `marginal` and `posterior`",
        )


def _bound(process, data):
    """The NELBO of one token, nats, under the denoiser that knows `p(x) = data`."""
    words, log_data = process.vocabulary_size, np.log(data)
    t = ((np.arange(LEVELS) + 0.5) / LEVELS).astype("float32")
    x = np.tile(np.arange(words, dtype="int32"), (LEVELS, 1))
    joint = data[:, None] * _called(process, process.marginal, x, t)  # p(x) q(z_t | x)
    bound = 0.0
    for z in range(process.num_states):
        logits = np.tile(log_data, (LEVELS, 1))
        if process.prediction == "mean":
            logits = np.log(np.maximum(joint[:, :, z], 1e-30))
        for k in range(words):
            inputs = logits[:, None].astype("float32"), np.full((LEVELS, 1), k, "int32")
            found = _called(process, process.nelbo, *inputs, np.full((LEVELS, 1), z, "int32"), t)
            mass = joint[:, k, z]
            bound += np.where(mass > 0, mass * found, 0.0).mean()
    return bound


def _noise(process, t):
    row = _row(process, "noise", t)
    _require(
        row.min() > -NEAR and abs(row.sum() - 1.0) < NEAR,
        process,
        f"has noise that is no distribution, at t={t:.3g} {_short(row)}",
    )
    return row


def _row(process, name, t):
    """What a method of times says of one, `(num_states,)`; it is asked of two at once."""
    found = _called(process, getattr(process, name), _full(t, 2))
    _require(
        found.shape == (2, process.num_states),
        process,
        f"must give `{name}` as (batch, {process.num_states}): of 2 times it gives {found.shape}",
    )
    return found[0]


def _called(process, method, *arrays):
    """What a method makes of arrays, float64 numpy."""
    try:
        found = method(*map(ops.convert_to_tensor, arrays))
        found = found if isinstance(found, tuple) else (found,)
        found = [backend.to_numpy(ops.convert_to_tensor(x)).astype("float64") for x in found]
        return found[0] if len(found) == 1 else found
    except Exception as error:
        shapes = ", ".join(str(each.shape) for each in arrays)
        raise ValueError(
            f"{type(process).__name__}.{method.__name__} failed on arrays of shapes {shapes}: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error


def _full(value, n):
    return np.full(n, value, "float32")


def _has_own(process, name):
    return getattr(type(process), name) is not getattr(DiffusionProcess, name)


def _short(row):
    return np.array2string(row, precision=3, threshold=8)


def _require(holds, process, why):
    if not holds:
        raise ValueError(f"{type(process).__name__} {why}.")
