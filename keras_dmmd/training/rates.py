"""Learning rates: those that are fixed, and those that were to fall and did not come to their end."""

import warnings

import keras
from keras import ops


def warn_of_high_rates(optimizer):
    """Warn where fewer updates are made than a rate falls over, by a tenth at least.

    Args:
        optimizer: after a `fit`; of a `MultiOptimizer` every part is looked at.
    """
    for part in _parts(optimizer):
        planned = _updates_of_schedule(part)
        made = batches_seen(part)
        if made < 0.9 * planned:
            rate = float(ops.convert_to_numpy(part.learning_rate))
            warnings.warn(
                f"`fit` ended after {made} of {planned} updates over which the learning rate falls: it "
                f"is still {rate:.2g}. Data that run out end an epoch early, whatever "
                "`steps_per_epoch` says: repeat them, or plan as many updates as there are. Another "
                "`fit` goes on here.",
                stacklevel=3,
            )
            return


def fixed_rates(optimizer):
    """The variables of an optimizer's learning rates that follow no schedule."""
    rates = [part.learning_rate for part in _parts(optimizer)]
    return [rate for rate in rates if isinstance(rate, keras.Variable)]


def _parts(optimizer):
    """The optimizers that a `MultiOptimizer` has, or the one; each without its scaling of the loss."""
    several = isinstance(optimizer, keras.optimizers.MultiOptimizer)
    return map(_unscaled, optimizer.optimizers if several else [optimizer])


def _unscaled(optimizer):
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer.inner_optimizer if scales else optimizer


def batches_seen(optimizer):
    """How many batches an optimizer has seen: what its schedule counts.

    Under `gradient_accumulation_steps` its `iterations` are fewer, the updates of weights.
    """
    return int(ops.convert_to_numpy(_unscaled(optimizer)._iterations))


def _updates_of_schedule(optimizer):
    """Over how many updates a rate changes; 0 for a fixed one, and for schedules without an end."""
    rate = optimizer.get_config()["learning_rate"]
    if not isinstance(rate, dict) or rate["class_name"] not in ("CosineDecay", "PolynomialDecay"):
        return 0
    config = rate["config"]
    return 0 if config.get("cycle") else config["decay_steps"] + (config.get("warmup_steps") or 0)
