"""Torch: a program of `torch.export`, and ONNX made of one."""

import contextlib
import io
import logging
import warnings

import torch

from keras_dmmd.backend import splitmix
from keras_dmmd.optional import package

ROWS = 3  # of the inputs by which a free batch is traced: not 1, which would be taken for fixed


class _Module(torch.nn.Module):
    """A function, with the layers that hold its weights."""

    def __init__(self, function, layers):
        super().__init__()
        self.function, self.layers = function, torch.nn.ModuleList(layers)

    def forward(self, *tensors):
        return self.function(*tensors)


def _program(function, inputs, layers):
    rows = torch.export.Dim("batch")
    examples, free = [], []
    for i in inputs:
        is_free = bool(i.shape) and i.shape[0] is None
        shape = (ROWS, *i.shape[1:]) if is_free else i.shape
        examples.append(torch.zeros(shape, dtype=getattr(torch, i.dtype)))
        free.append({0: rows} if is_free else {})
    with torch.no_grad():
        made = torch.export.export(
            _Module(function, layers), tuple(examples), dynamic_shapes=(tuple(free),), strict=False
        )
    _tidy(made.graph_module.graph)
    return made


# Of the places in the code that made a node: long, and paths of this machine.
TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")


def _tidy(graph):
    """Leave out what changes nothing: casts to what a tensor is, which are half of all nodes."""
    results = {node for output in graph.find_nodes(op="output") for node in output.all_input_nodes}
    for node in list(graph.nodes):
        for name in TRACES:
            node.meta.pop(name, None)
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)
        elif str(node.target).startswith("aten.to.") and node not in results:
            source = node.args[0]
            before, after = source.meta["val"], node.meta["val"]
            if (before.dtype, before.device) == (after.dtype, after.device):
                node.replace_all_uses_with(source)
                graph.erase_node(node)


def program(function, inputs, output, layers, path, weights):
    """`torch.export.load(path).module()(*inputs)`."""
    del output, weights  # one result without a name
    torch.export.save(_program(function, inputs, layers), path)


def onnx(function, inputs, output, layers, path, weights):
    """`onnxruntime.InferenceSession(path).run([output], dict of inputs)[0]`."""
    for name in ("onnx", "onnxscript"):
        package(name, "The format 'onnx'", "onnx onnxscript")
    from keras_dmmd.backend.writers.onnx import save, translations

    with splitmix.as_operation() as mix, _quietly():
        made = torch.onnx.export(
            _program(function, inputs, layers),
            input_names=[i.name for i in inputs],
            output_names=[output],
            custom_translation_table=translations(mix),
            dynamo=True,
            verbose=False,
        )
    _forget_traces(made.model.graph)
    save(made.model_proto, path, weights)


def _forget_traces(graph):
    for thing in (graph, *graph):
        thing.metadata_props.clear()


@contextlib.contextmanager
def _quietly():
    """Without the notes of the exporter, on what it does not need and on what it did not fold."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


WRITERS = {"onnx": onnx, "torch": program}
