"""JAX: StableHLO, by `jax.export`."""

import contextlib

import jax
import jax.export

# What the file runs on.
PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo(function, inputs, output, layers, path, weights):
    """`jax.export.deserialize(bytearray(open(path, "rb").read())).call(*inputs)`."""
    del output, layers, weights  # one result without a name; weights are constants
    (batch,) = jax.export.symbolic_shape("batch")
    arguments = [
        jax.ShapeDtypeStruct(tuple(batch if d is None else d for d in i.shape), i.dtype) for i in inputs
    ]
    with _no_paths():
        exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    with open(path, "wb") as file:
        file.write(exported.serialize())


@contextlib.contextmanager
def _no_paths():
    """Without the paths of this machine's source files in what is written."""
    name = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, name)
    jax.config.update(name, ".*")
    try:
        yield
    finally:
        jax.config.update(name, before)


WRITERS = {"stablehlo": stablehlo}
