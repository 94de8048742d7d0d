"""What `torch.onnx` does not have: two functions in the words of ONNX, and weights as integers."""

import numpy as np
import onnx
import torch
from onnxscript import opset18 as op

from keras_dmmd.backend import splitmix
from keras_dmmd.backend.erfinv import CENTRE, TAILS
from keras_dmmd.backend.writers.integers import FEWEST, rounded


def translations(mix):
    """What `torch.onnx.export` takes, of the inverse error function and of `splitmix.mix`."""
    return {
        torch.ops.aten.erfinv.default: _erfinv,
        torch.ops.prims.erf_inv.default: _erfinv,
        mix: _mix,
    }


def _erfinv(x):
    one = _float(1.0)
    w = op.Neg(op.Log(op.Mul(op.Sub(one, x), op.Add(one, x))))
    centre = _polynomial(CENTRE, op.Sub(w, _float(2.5)))
    tails = _polynomial(TAILS, op.Sub(op.Sqrt(w), _float(3.0)))
    return op.Mul(op.Where(op.Less(w, _float(5.0)), centre, tails), x)


def _polynomial(coefficients, x):
    first, *rest = coefficients
    found = _float(first)
    for coefficient in rest:
        found = op.Add(op.Mul(found, x), _float(coefficient))
    return found


def _mix(state):
    state = op.Add(state, _word(splitmix.STEP))
    for shift, factor in splitmix.ROUNDS:
        unsigned = op.Cast(state, to=onnx.TensorProto.UINT64)
        shifted = op.BitShift(unsigned, _word(shift, "UINT64"), direction="RIGHT")
        state = op.BitwiseXor(state, op.Cast(shifted, to=onnx.TensorProto.INT64))
        state = op.Mul(state, _word(factor)) if factor != 1 else state
    return state


def _float(value):
    return op.Constant(value_float=value)


def _word(value, dtype="INT64"):
    value = splitmix.signed(value) if dtype == "INT64" else value
    return op.Constant(
        value=onnx.helper.make_tensor("word", onnx.TensorProto.DataType.Value(dtype), [], [value])
    )


# Where weights stand among the inputs of operations.
WEIGHTS_OF = {("MatMul", 1), ("Gemm", 1), ("Gather", 0)}


def save(model, path, weights):
    """Write a model, its tables of weights as they are or, `"int8"`, as integers and scales."""
    if weights == "int8":
        _use_integers(model.graph)
    onnx.save(model, path)


def _use_integers(graph):
    """Tables `(rows, columns)` as int8 with a scale per column, which the graph multiplies first.

    Those of weights, which are looked up or multiplied with: not those of angles.
    """
    readers = {}
    for node in graph.node:
        for i, name in enumerate(node.input):
            readers.setdefault(name, set()).add((node.op_type, i))
    tables = [
        table
        for table in graph.initializer
        if readers.get(table.name, set()) <= WEIGHTS_OF
        and len(table.dims) == 2
        and table.data_type == onnx.TensorProto.FLOAT
        and np.prod(table.dims) >= FEWEST
    ]
    nodes = []
    for table in tables:
        integers, scale = rounded(onnx.numpy_helper.to_array(table))
        name = table.name
        graph.initializer.remove(table)
        for suffix, array in (("integers", integers), ("scale", scale)):
            graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}.{suffix}"))
        inputs = [f"{name}.integers", f"{name}.scale"]
        nodes.append(onnx.helper.make_node("DequantizeLinear", inputs, [name], axis=1))
    nodes += list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
