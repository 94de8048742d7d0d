"""Whether an optimizer belongs to what is trained, and by what name a file knows it."""

import warnings

import keras

HALF = {"bfloat16", "float16"}


def check_trained(model):
    """Raise a `ValueError` where a compiled model trains no weights, or other ones since."""
    if not model.weights:
        return  # a network that is built when it sees its first batch
    trained = {id(v) for v in model.trainable_variables}
    if not trained:
        raise ValueError(
            f"All weights of this {type(model).__name__} are frozen: there is nothing to train. Set "
            "`trainable = True` on it, and compile it again. (A model whose weights are shared, with "
            "`copy(adapters=rank)` or by `DMMDDistiller(adapters=rank)`, is frozen for that.)"
        )
    optimizer = model.optimizer
    if optimizer.built and trained != {id(v) for v in optimizer._trainable_variables}:
        raise ValueError(
            f"This {type(model).__name__} trains {len(trained)} weights now, which are not the "
            f"{len(optimizer._trainable_variables)} that it was compiled for: layers were frozen or "
            "freed since, given adapters or quantised. Compile it again."
        )
    check_average(optimizer, model.trainable_variables)


def check_average(optimizer, variables):
    """Warn where an optimizer's moving average may not follow what it trains.

    At its end `fit` writes that average over the weights.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if optimizer.use_ema:
        check_precision("the optimizer's `use_ema`", variables)


def check_precision(average, variables):
    """Warn where a moving average, which is named, is one of weights in half precision."""
    half = half_of(variables)
    if half:
        kind = half[0].dtype
        warnings.warn(
            f"The moving average of {average} is kept in {kind}, as {len(half)} trained weights are "
            f"({half[0].path!r}, …): of a slow average most steps are less than that can tell, and it "
            f"stays near where it began. Weights are float32 under the policy 'mixed_{kind}'.",
            stacklevel=3,
        )


def half_of(variables):
    """Those variables that are in half precision."""
    return [v for v in variables if v.dtype in HALF]


def public_config(config):
    """A config in which optimizers have the names that every backend knows.

    Torch's are classes of that backend, `keras.src.backend.torch.optimizers`, which cannot be made on
    another one.
    """
    if isinstance(config, list):
        return [public_config(value) for value in config]
    if not isinstance(config, dict):
        return config
    config = {name: public_config(value) for name, value in config.items()}
    if str(config.get("module")).startswith("keras.src.backend."):
        config |= {"module": "keras.optimizers", "registered_name": None}
    return config
