"""Tables of costs and probabilities that come in from outside."""

from keras import ops

from keras_dmmd import checks


def number(name, value):
    """A number of at least 0, which may be a tensor."""
    return value if ops.is_tensor(value) else checks.number(name, value)


def tables(**tables):
    """Float32 tensors `(batch, length, K)` of one shape, a dict.

    Raises:
        ValueError: they are others.
    """
    tables = {k: v if ops.is_tensor(v) else checks.array(k, v) for k, v in tables.items()}
    shapes = {name: tuple(table.shape) for name, table in tables.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 3 for shape in shapes.values()):
        names = ", ".join(f"`{name}`" for name in shapes)
        raise ValueError(f"{names} must be (batch, length, K), all alike. Received: shapes {shapes}")
    return {name: ops.cast(table, "float32") for name, table in tables.items()}
