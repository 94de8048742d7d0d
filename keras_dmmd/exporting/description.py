"""What stands beside an exported file: what it takes, and how ids become text."""

import keras

from keras_dmmd.version import __version__


def describe(graph, kind, format):
    """What who runs a `Graph` has to know, JSON."""
    model, process = graph.model, graph.model.process
    tokenizer = model.tokenizer
    found = {
        "made_by": f"keras_dmmd {__version__}",
        "kind": kind,
        "format": format,
        "inputs": [
            {"name": i.name, "dtype": i.dtype, "shape": list(i.shape), "meaning": i.meaning}
            for i in graph.inputs
        ],
        "output": {"name": graph.output, "dtype": "int32", "shape": [graph.batch, graph.length]},
        "times": [float(t) for t in graph.grid],
        "sampler": repr(graph.stepper),
        "process": repr(process),
        "vocabulary_size": process.vocabulary_size,
        "num_states": process.num_states,
        "image": model.capabilities.grid and list(model.capabilities.grid),
        "num_classes": model.capabilities.num_classes,
        "tokenizer": tokenizer and keras.saving.serialize_keras_object(tokenizer),
    }
    return {name: value for name, value in found.items() if value is not None}
