"""Whether an optimizer belongs to what is trained, and by what name a file knows it."""

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
    """Raise a `ValueError` where an optimizer's moving average could not follow what it trains.

    At its end `fit` writes that average over the weights.
    """
    if optimizer.use_ema:
        check_precision("The optimizer has `use_ema`, whose average", variables)


def check_precision(average, variables):
    """Raise a `ValueError` where an average, named at a sentence's beginning, is of half precision."""
    half = sorted({v.dtype for v in variables} & HALF)
    if half:
        raise ValueError(
            f"{average} moves by less than {half[0]} can tell, so it would stay where it began. Give "
            f"weights that are trained float32, as the policy 'mixed_{half[0]}' does, or train without."
        )


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
