"""A gradient for a table of integers that also makes logits."""

import functools

from keras import layers, ops


def differentiable(table):
    """Let gradients through `table(x, reverse=True)` where the table is int8; returns the table.

    Keras rounds `x` there, so that all gradients from the logits would be 0: to its dense layers alone
    it gives a derivative, that of the product with the weights that the integers stand for. This is the
    same for a table; the logits stay what they are.
    """
    if isinstance(table, layers.ReversibleEmbedding) and table.quantization_mode == "int8":
        table._int8_call = functools.partial(_int8_call, table)
    return table


def _int8_call(table, inputs, reverse=False):
    call = type(table)._int8_call
    if not reverse:
        return call(table, inputs)
    if table.tie_weights:
        integers, scale = table._embeddings, table.embeddings_scale
    else:
        integers, scale = ops.transpose(table.reverse_embeddings), table.reverse_embeddings_scale

    @ops.custom_gradient
    def logits_of(x, integers, scale):
        logits = call(table, x, reverse=True)

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            if table.logit_soft_cap is not None:
                upstream = upstream * (1.0 - ops.square(logits / table.logit_soft_cap))
            rows = ops.cast(integers, upstream.dtype) / ops.expand_dims(scale, -1)
            return ops.matmul(upstream, rows), None, None

        return logits, gradient

    return logits_of(inputs, ops.convert_to_tensor(integers), ops.convert_to_tensor(scale))
