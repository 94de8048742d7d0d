"""TensorFlow: a SavedModel."""

import tensorflow as tf


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


WRITERS = {"saved_model": saved_model}
