"""JAX: pure functions over explicit state, reached through Keras's `StatelessScope`."""

import contextlib

import jax
import jax.export
import jax.numpy as jnp
import keras
from keras.src.backend.common.stateless_scope import get_stateless_scope

from keras_dmmd.backend.alone import (
    argmin,
    begin_pass,
    begin_together,
    check_copies,
    check_source,
    gathered,
    keras_loss,
    process,
    scope_of,
    share,
    sum_over_replicas,
    summed,
)
from keras_dmmd.backend.jax_devices import (
    TakesAnyBatch,
    hide_devices,
    kept_value,
    on_these_devices,
    parts,
    show_devices,
    split_rows,
)
from keras_dmmd.backend.jax_loops import keeper, pass_over, return_state, unshare
from keras_dmmd.backend.jax_processes import (
    agreed,
    check_backup,
    data_part,
    from_first,
    gather_integers,
    gather_objects,
    gather_rows,
    in_words,
    is_first,
    predictor,
    reads_whole,
    telling,
    to_numpy,
    undivided,
    whole,
    whole_if_uneven,
)
from keras_dmmd.backend.xla import exponential, gather_last, keep_unfused, made_later, wait_for

__all__ = [
    "COMPILES",
    "ITERATORS_PER_EPOCH",
    "StatefulTrainStep",
    "agreed",
    "apply_gradients",
    "argmin",
    "begin_pass",
    "begin_together",
    "check_backup",
    "check_copies",
    "check_source",
    "compile_inference",
    "data_part",
    "device_name",
    "exponential",
    "from_first",
    "gather_integers",
    "gather_last",
    "gather_objects",
    "gather_rows",
    "gathered",
    "hide_devices",
    "in_words",
    "is_first",
    "is_key",
    "is_out_of_memory",
    "is_row_key",
    "is_symbolic",
    "keep_unfused",
    "keeper",
    "kept_value",
    "keras_loss",
    "key",
    "map_tiles",
    "no_gradient",
    "normal",
    "on_cpu",
    "on_these_devices",
    "parts",
    "pass_over",
    "pick",
    "predictor",
    "process",
    "reads_whole",
    "remat",
    "retrack",
    "return_state",
    "row_keys",
    "scope_of",
    "seed_keys",
    "share",
    "show_devices",
    "split",
    "split_rows",
    "sum_over_replicas",
    "sum_parts",
    "summed",
    "synchronize",
    "telling",
    "to_numpy",
    "undivided",
    "uniform",
    "unshare",
    "value_and_grad",
    "version",
    "wait_for",
    "whole",
    "whole_if_uneven",
]

COMPILES = True
ITERATORS_PER_EPOCH = 1


def key(seed):
    return jnp.asarray(seed).astype("uint32")


def is_key(seed):
    if not isinstance(seed, jax.Array) or seed.dtype != "uint32":
        return False
    return seed.ndim in (1, 2) and seed.shape[-1] == 2


def is_row_key(key):
    return key.ndim == 2


def seed_keys(seeds):
    return jnp.stack([seeds.astype("uint32"), jnp.zeros_like(seeds, "uint32")], axis=-1)


def row_keys(key, rows):
    # Apart from what `split` makes, which is `fold_in` of small numbers.
    if key.ndim == 2:
        return jax.vmap(lambda own, row: jax.random.fold_in(jax.random.fold_in(own, 2**31), row))(
            key, rows
        )
    apart = jax.random.fold_in(key, 2**31)
    return jax.vmap(jax.random.fold_in, (None, 0))(apart, rows)


def is_symbolic(size):
    return jax.export.is_symbolic_dim(size)


def split(key, n):
    if key.ndim == 1:
        return list(jax.random.split(key, n))
    return list(jax.vmap(jax.random.split, (0, None), 1)(key, n))


def pick(key, n, i):
    return jnp.take(jnp.stack(split(key, n)), i, axis=0)


def uniform(key, shape):
    return _draw(jax.random.uniform, key, shape)


def normal(key, shape):
    return _draw(jax.random.normal, key, shape)


def _draw(draw, key, shape):
    if key.ndim == 1:
        return draw(key, shape, "float32")
    return jax.vmap(lambda row_key: draw(row_key, shape[1:], "float32"))(key)


def sum_parts(fn, tensors, n):
    del n  # as many as the tensors have
    scope = get_stateless_scope()

    def of_part(state, i, part):
        # What `fn` assigned, a dropout's seed for instance, goes from part to part.
        with keras.StatelessScope() as inner:
            inner.state_mapping.update(scope.state_mapping | state)
            before = dict(inner.state_mapping)
            found = fn(i, *part)
            changed = {k: v for k, v in inner.state_mapping.items() if v is not before.get(k)}
        return found, changed

    found, changed = jax.eval_shape(of_part, {}, jnp.int32(0), [x[0] for x in tensors])
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), found)
    names = list(changed)

    def step(carry, part):
        sums, values = carry
        found, changed = of_part(dict(zip(names, values, strict=True)), *part)
        return (jax.tree.map(jnp.add, sums, found), [changed[k] for k in names]), None

    start = zeros, [scope.state_mapping[k] for k in names]
    numbers = jnp.arange(tensors[0].shape[0], dtype="int32")
    (sums, values), _ = jax.lax.scan(step, start, (numbers, list(tensors)))
    scope.state_mapping.update(zip(names, values, strict=True))
    return sums


def value_and_grad(fn, variables):
    scope = get_stateless_scope()

    def pure(values):
        # A nested scope hides the outer one, so it starts as a copy; what `fn` assigned (metrics,
        # random streams) must leave the differentiated function as an output to outlive it.
        with keras.StatelessScope() as inner:
            inner.state_mapping.update(scope.state_mapping)
            for variable, value in zip(variables, values, strict=True):
                inner.add_update((variable, value))
            before = dict(inner.state_mapping)
            loss, aux = fn()
            updates = {k: v for k, v in inner.state_mapping.items() if v is not before.get(k)}
        return loss, (aux, updates)

    values = [variable.value for variable in variables]
    (loss, (aux, updates)), gradients = jax.value_and_grad(pure, has_aux=True)(values)
    scope.state_mapping.update(updates)
    return (loss, aux), gradients


def map_tiles(fn, tensors, n):
    def active(_, *tile):
        return fn(*tile)

    def passive(zeros, *_):
        return zeros

    # What is made again is all but the number: a branch within would keep the weights once a tile.
    @jax.checkpoint
    def tile_of(i, zeros, *tile):
        return jax.lax.cond(i < n, active, passive, zeros, *tile)

    found = jax.eval_shape(fn, *(x[0] for x in tensors))
    zeros = tuple(jnp.zeros(x.shape, x.dtype) for x in found)
    numbers = jnp.arange(tensors[0].shape[0])
    return jax.lax.map(lambda part: tile_of(part[0], zeros, *part[1:]), (numbers, *tensors))


def remat(fn):
    def wrapped(*tensors):
        # Weights that it reads become arguments: what is closed over has no gradient here.
        pure, weights = jax.closure_convert(fn, *tensors)

        @jax.custom_vjp
        def run(tensors, weights):
            return pure(*tensors, *weights)

        def forward(tensors, weights):
            return run(tensors, weights), (tensors, weights)

        def backward(kept, upstream):
            tensors, weights = kept
            tensors = made_later(tensors, upstream[0])
            _, transpose = jax.vjp(lambda x, w: pure(*x, *w), tuple(tensors), weights)
            return transpose(upstream)

        run.defvjp(forward, backward)
        return run(tensors, weights)

    return wrapped


def no_gradient():
    return contextlib.nullcontext()  # only the arguments of `value_and_grad` are differentiated


def apply_gradients(optimizer, gradients, variables, where=None):
    # Not `optimizer.apply`: a LossScaleOptimizer's stateful branches would leak tracers.
    groups = (variables, optimizer.variables)
    before, state = ([v.value for v in group] for group in groups)
    after = optimizer.stateless_apply(state, gradients, before)
    for group, old, new in zip(groups, (before, state), after, strict=True):
        for variable, old_value, value in zip(group, old, new, strict=True):
            variable.assign(value if where is None else jnp.where(where, value, old_value))


class StatefulTrainStep(TakesAnyBatch):
    """Run `update(data)` in a scope over the whole state: pure, so compiled and donated by `fit`."""

    def train_step(self, state, data):
        groups = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        mapping = [
            pair for group in zip(groups, state, strict=True) for pair in zip(*group, strict=True)
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            logs = self.update(data)
        return logs, tuple([scope.get_current_value(v) for v in group] for group in groups)


def retrack(layers):
    del layers  # nothing but they themselves holds their variables


def compile_inference(fn, variables, jit_compile):
    del jit_compile  # JAX without XLA is not a mode of its own

    @jax.jit
    def pure(values, *args):
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
            return fn(*args)

    return lambda *args: pure([v.value for v in variables], *args)


def version():
    return jax.__version__


def device_name():
    return ", ".join(sorted({device.device_kind for device in jax.devices()}))


def on_cpu():
    return jax.default_backend() == "cpu"


def is_out_of_memory(error):
    return "RESOURCE_EXHAUSTED" in str(error)


def synchronize(x):
    return jax.block_until_ready(x)
