"""The one place that knows which Keras backend runs.

Everything above this package is written once against the names exported here; each backend module
defines all of them:

| name | meaning |
|---|---|
| `key(seed)` | a stateless random key from a pair of integers |
| `seed_keys(seeds)` | the keys of integers `(n,)`: what `split` and `row_keys` take, too |
| `row_keys(key, rows)` | a key per row, of these rows: what `split` and draws take, too |
| `is_key(seed)` | whether that is what `key`, `row_keys` or `split` made |
| `is_row_key(key)` | whether that is a key per row |
| `is_symbolic(size)` | whether a size is one that a trace leaves open |
| `split(key, n)` | `n` independent keys |
| `pick(key, n, i)` | the one of them whose number is a tensor, of a key of many rows |
| `uniform(key, shape)`, `normal(key, shape)` | float32 draws |
| `exponential(coarse, fine)` | `-log(1 - v)`, fine near 0, of two uniform draws |
| `argmin(x)` | the place of the least in the last axis, of floats that are not -0.0, int32 |
| `gather_last(x, places)` | `x` at these places of its last axis, the axes before being the same |
| `wait_for(x, norm)` | `x`, held back until the number is known, so that two computations take turns |
| `keep_unfused(x, z)` | `x`, computed by kernels of its own, ids `z` at hand |
| `value_and_grad(fn, variables)` | `(loss, aux), gradients` of `fn() -> (loss, aux)` |
| `share(n)` | `first, total`: which rows of the whole batch the n of this replica are |
| `sum_over_replicas(tensors)` | a list of their sums, without gradients of their own |
| `keras_loss(loss)` | a mean loss as Keras's own test step takes it |
| `parts()` | how many devices of this program divide a batch among them |
| `split_rows(tree)` | tensors whose rows are divided among those, where that goes |
| `hide_devices(batches, rows)`, `show_devices()` | for batches whose `rows()` these do not divide |
| `on_these_devices()` | context in which a checkpoint of other devices is read |
| `kept_value(variable)` | its value, to be assigned to it again |
| `to_numpy(x)` | the whole of a tensor, whatever devices it is on |
| `data_part()` | which part of every batch this process reads, and of how many |
| `reads_whole()` | whether every process is given all of the data, of which it takes a part |
| `undivided()` | context in which Keras does not divide data among processes |
| `whole_if_uneven(batch, sizes)` | all rows, where processes cannot go on with their own; else `None` |
| `is_first()` | whether this is the process that writes files for all |
| `in_words(error)` | a sentence in place of one that says that another process is lost |
| `check_backup()` | an error where no process has all of a model's state |
| `whole(variables)` | context in which one process has all of theirs; whether this one, which writes |
| `predictor(model, batch_size)` | a Keras model's `predict`, of all rows in every process |
| `process()` | the number of this process among those that run programs of their own |
| `gather_integers(first, second)` | those of all processes, numpy `(processes, 2)` |
| `gather_objects(value)` | a list of every process's value |
| `gathered(value)` | a context with a list of every process's value, at its end; errors are all's |
| `telling()` | a context before any of these four, or the next two: an error there is one of all |
| `gather_rows(tree)` | tensors with the rows of all processes |
| `from_first(fn)` | what `fn()` returned in the first process; errors are all's |
| `agreed(fn)` | the same, called by all |
| `summed(variables)` | context in which they have their sums over processes |
| `begin_together(model, streams)` | the same weights for all; other numbers from Keras's streams |
| `scope_of(model)` | context in which its optimizer's variables are made |
| `check_copies(model, copies)` | an error where replicas would divide a row's copies |
| `check_source(source)`, `begin_pass(source, number)` | of a loader that splits its data |
| `map_tiles(fn, tensors, n)` | `fn` of slice after slice, the first n, made again for gradients |
| `sum_parts(fn, tensors, n)` | the sum of the nests of floats `fn(i, *parts)` of n parts of tensors |
| `remat(fn)` | `fn` of tensors to a tuple of tensors, which gradients make again; it may read weights |
| `no_gradient()` | context in which nothing is recorded for a later gradient |
| `apply_gradients(optimizer, gradients, variables, where)` | one optimizer update, if `where` |
| `StatefulTrainStep` | mixin: write `update(data) -> logs` with plain `assign`s, get a `train_step` |
| `unshare(variables)` | give each variable memory of its own |
| `retrack(layers)` | let go of variables that layers had before |
| `keeper(variables)` | a function that gives variables their values back after a failed `fit` |
| `pass_over(steps, *args)` | a train function that takes its batches, and does not train |
| `return_state(model)` | within a batch of its `fit`: its variables have their values |
| `compile_inference(fn, variables, jit_compile)` | `fn` compiled, with weights as arguments |
| `COMPILES` | whether that compiles by default |
| `ITERATORS_PER_EPOCH` | how many Keras begins of a `tf.data` pipeline in an epoch of `fit` |
| `version()`, `device_name()` | of the backend, and what it computes on |
| `on_cpu()` | whether the default device is a CPU |
| `is_out_of_memory(error)` | whether an exception says that the device is full |
| `synchronize(x)` | wait until `x` has been computed |
"""

import keras

if keras.backend.backend() == "jax":
    from keras_dmmd.backend.jax import *  # noqa: F403
elif keras.backend.backend() == "tensorflow":
    from keras_dmmd.backend.tensorflow import *  # noqa: F403
elif keras.backend.backend() == "torch":
    from keras_dmmd.backend.torch import *  # noqa: F403
else:
    raise ImportError(
        "keras_dmmd runs on the Keras backends 'jax', 'tensorflow' and 'torch'. "
        f"Received: KERAS_BACKEND={keras.backend.backend()!r}"
    )
