"""What is done among processes, where there is one, or where one program sees what all of them hold."""

import contextlib
import functools

import numpy as np
from keras import ops


def argmin(x):
    return ops.cast(ops.argmin(x, axis=-1), "int32")


def process():
    return 0, 1


def gather_integers(first, second=0):
    return np.array([[first, second]], "int64")


def gather_objects(value):
    return [value]


@contextlib.contextmanager
def gathered(value):
    found = []
    yield found
    found.append(value)


def gather_rows(tree):
    return tree


def from_first(function):
    return function()


def agreed(function):
    return function()


def telling():
    return contextlib.nullcontext()


def share(n):
    return 0, n


def sum_over_replicas(tensors):
    return list(tensors)


def keras_loss(loss):
    return loss


def summed(variables):
    del variables
    return contextlib.nullcontext()


def begin_together(model, streams):
    del model, streams


def scope_of(model):
    del model
    return contextlib.nullcontext()


def check_copies(model, copies):
    del model, copies


def check_source(source):
    del source


def begin_pass(source, number):
    del source, number


def parts():
    return 1


def split_rows(tree):
    return tree


def hide_devices(batches, rows):
    del rows
    return batches


def data_part():
    return process()


def reads_whole():
    return False


def undivided():
    return contextlib.nullcontext()


def whole_if_uneven(batch, sizes):
    del batch, sizes
    return None


def is_first():
    return True


def in_words(error):
    return error


def check_backup():
    pass


@contextlib.contextmanager
def whole(variables):
    del variables
    yield is_first()


def predictor(model, batch_size):
    return functools.partial(model.predict, batch_size=batch_size, verbose=0)


def on_these_devices():
    return contextlib.nullcontext()


def kept_value(variable):
    return ops.convert_to_numpy(variable)


def to_numpy(x):
    return ops.convert_to_numpy(x)


def show_devices():
    pass
