"""Temperature and nucleus (top-p) truncation of log-probabilities."""

import numbers

from keras import ops

from keras_dmmd import checks

# Divided by it, log-probabilities that float32 tells apart leave no doubt which is the largest.
TEMPERATURE_FLOOR = 1e-8
# Among so many words a search for the border of a nucleus takes less time than to sort them.
MANY = 2048
# Halvings of the search, which begins 90 nats below the likeliest: then nothing lies between its ends.
HALVINGS, DEPTH = 32, 90.0


def nucleus(log_probs, top_p):
    """The smallest set of likeliest tokens whose probability reaches `top_p`, bool, same shape.

    Holtzman et al., "The Curious Case of Neural Text Degeneration" (arXiv 1904.09751). Ties at the
    border are all kept; the likeliest token always is.
    """
    if log_probs.shape[-1] >= MANY:
        return _nucleus_by_search(log_probs, top_p)
    probs = ops.exp(log_probs)
    ordered = -ops.sort(-probs, axis=-1)
    mass_before = ops.cumsum(ordered, axis=-1) - ordered
    inside = ops.where(mass_before < top_p, ordered, 2.0)
    return probs >= ops.min(inside, axis=-1, keepdims=True)


def _nucleus_by_search(log_probs, top_p):
    """`nucleus`: a token is in it if what is likelier has less mass than `top_p`.

    That mass falls as the token's own log-probability rises, so the border is found by bisection.
    """
    probs = ops.exp(log_probs)
    high = ops.max(log_probs, axis=-1, keepdims=True)

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        above = ops.sum(ops.where(log_probs > middle, probs, 0.0), axis=-1, keepdims=True)
        inside = above < top_p
        return ops.where(inside, low, middle), ops.where(inside, middle, high)

    low, _ = ops.fori_loop(0, HALVINGS, halve, (high - DEPTH, high))
    return log_probs > low


def sharpen(log_probs, temperature=1.0, top_p=None, penalty=float("inf")):
    """Log-probabilities `(..., K)` at a temperature, with tokens outside the nucleus penalised.

    Args:
        log_probs: normalised log-probabilities; `-inf` is allowed.
        temperature: τ: `log p / τ`, normalised again. 0 is greedy: all mass on the likeliest token, or
            shared by several that are equally likely.
        top_p: nucleus mass in (0, 1), a number or a tensor, or `None` for no truncation.
        penalty: Δ, what tokens outside the nucleus lose in nats. Infinite truncates, for sampling;
            a few nats keep gradients finite, for distillation (D-MMD, arXiv 2603.20155).
    """
    log_probs = ops.log_softmax(log_probs / ops.maximum(temperature, TEMPERATURE_FLOOR), axis=-1)
    top_p = nucleus_mass(top_p)
    if top_p is None:
        return log_probs
    return ops.where(nucleus(log_probs, top_p), log_probs, log_probs - penalty)


def nucleus_mass(top_p):
    """`top_p`, or `None` for the number 1: a float32 running sum reaches 1 before the rarest token."""
    return None if isinstance(top_p, numbers.Real) and top_p >= 1 else top_p


def check(temperature, top_p, greedy=True):
    """Raise a `ValueError` that names the argument if either is out of range.

    `greedy`: whether a temperature of 0 is allowed.
    """
    checks.number("temperature", temperature, above=None if greedy else 0.0)
    if top_p is not None:
        checks.number("top_p", top_p, above=0.0, high=1.0)
