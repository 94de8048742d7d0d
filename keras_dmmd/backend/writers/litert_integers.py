"""Weights as integers in a LiteRT file: its tables are dequantized before they are used, as in ONNX."""

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from keras_dmmd.backend.writers.integers import FEWEST, rounded

# Where tables stand among the inputs of operations, and the axis of what is one column of a layer's.
TABLES = {
    (schema.BuiltinOperator.FULLY_CONNECTED, 1): 0,
    (schema.BuiltinOperator.GATHER, 0): 1,
}
PER_CHANNEL = 5  # the first version of the operation that takes a scale per column


def with_integers(content):
    """A file, bytes, whose tables are int8 with a scale per column."""
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = PER_CHANNEL
    model.operatorCodes.append(code)
    for graph in model.subgraphs:
        first = []
        for index, axis in _tables(model, graph).items():
            table, operator = graph.tensors[index], schema.OperatorT()
            graph.tensors.append(_integers(model, table, axis))
            operator.opcodeIndex = len(model.operatorCodes) - 1
            operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
            operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
            operator.builtinOptions = schema.DequantizeOptionsT()
            first.append(operator)
            table.buffer = 0  # the empty one: it is computed
        graph.operators[:0] = first
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _tables(model, graph):
    """Indices of tensors that are constant tables of weights and nothing else, and the axis of each."""
    found, others = {}, set()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        code = max(code.builtinCode, code.deprecatedBuiltinCode)
        for place, index in enumerate(operator.inputs):
            axis, tensor = TABLES.get((code, place)), graph.tensors[index]
            if axis is None or found.get(index, axis) != axis:
                others.add(index)
            elif (
                tensor.type == schema.TensorType.FLOAT32
                and model.buffers[tensor.buffer].data is not None
                and len(tensor.shape) == 2
                and np.prod(tensor.shape) >= FEWEST
            ):
                found[index] = axis
    return {index: axis for index, axis in found.items() if index not in others}


def _integers(model, table, axis):
    """The tensor that stands for a table, and its values in the file."""
    values = np.frombuffer(bytes(model.buffers[table.buffer].data), "float32").reshape(table.shape)
    integers, scales = rounded(values, columns=axis)
    buffer = schema.BufferT()
    buffer.data = integers.tobytes()
    model.buffers[table.buffer].data = None
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name, tensor.shape = table.name + b".integers", table.shape
    tensor.type, tensor.buffer = schema.TensorType.INT8, len(model.buffers) - 1
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = scales
    tensor.quantization.zeroPoint = np.zeros(scales.size, "int64")
    tensor.quantization.quantizedDimension = axis
    return tensor
