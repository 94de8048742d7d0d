"""TensorFlow: a SavedModel, and LiteRT made of one."""

import os
import re
import tempfile

import tensorflow as tf

from keras_dmmd.backend import tensorflow_words


def saved_model(function, inputs, output, layers, path, weights):
    """`tf.saved_model.load(path).signatures["serving_default"](**inputs)[output]`."""
    del weights  # as they are
    module = tf.Module()
    module.weights = [weight.value for layer in layers for weight in layer.weights]

    @tf.function(input_signature=[tf.TensorSpec(i.shape, i.dtype, i.name) for i in inputs])
    def serve(*tensors):
        return {output: function(*tensors)}

    module.serve = serve
    tf.saved_model.save(module, path, serve.get_concrete_function())


def litert(function, inputs, output, layers, path, weights):
    """`ai_edge_litert.interpreter.Interpreter(path).get_signature_runner()(**inputs)[output]`."""
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, "model")
        with tensorflow_words.in_halves():
            saved_model(function, inputs, output, layers, place, None)
        try:
            content = tf.lite.TFLiteConverter.from_saved_model(place).convert()
        except Exception as error:  # of a class that TensorFlow has no public name for
            missing = re.search("TF Select ops: (.+)", str(error))
            if missing is None:
                raise
            raise ValueError(
                f"LiteRT has no {missing[1]}, which this network or sampler needs: take "
                'sampler="ancestral", or format="saved_model".'
            ) from None
    if weights == "int8":
        # Here, as what it imports takes a while.
        from keras_dmmd.backend.writers.litert_integers import with_integers

        content = with_integers(content)
    with open(path, "wb") as file:
        file.write(content)


WRITERS = {"saved_model": saved_model, "litert": litert}
