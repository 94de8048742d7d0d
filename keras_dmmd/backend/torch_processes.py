"""Torch's process groups: every process runs the same script, on rows of its own.

The script initialises `torch.distributed`; without a group, or in a group of one, nothing here does
anything.
"""

import contextlib

import numpy as np
import torch
import torch.distributed as dist
from keras.src.backend.torch.core import get_device

from keras_dmmd.backend.meetings import Meetings, is_loss


def process():
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def data_part():
    return process()


def is_first():
    return process()[0] == 0


def _alone():
    return process()[1] == 1 or get_device() == "meta"


@contextlib.contextmanager
def _meeting():
    """A context in which processes wait for each other: what goes wrong there is said in words."""
    try:
        yield
    except RuntimeError as error:
        if not is_loss(error):
            raise
        rank, size = process()
        raise RuntimeError(
            f"Process {rank} of {size} has lost another one, which ended, or did not come to the same "
            "call within the timeout of `torch.distributed.init_process_group`. Start all of them "
            "again: with keras_dmmd.callbacks.BackupAndResume training goes on where the last "
            f"checkpoint was. Cause: {error}"
        ) from error


def _gather(array):
    value = torch.from_numpy(array).to(get_device())
    found = [torch.empty_like(value) for _ in range(process()[1])]
    with _meeting():
        dist.all_gather(found, value)
        return np.stack([part.cpu().numpy() for part in found])


_meetings = Meetings(_gather, _alone, is_first)
gather_integers = torch.compiler.disable(_meetings.integers)
gather_objects = _meetings.objects
from_first, agreed, telling = _meetings.from_first, _meetings.agreed, _meetings.telling


@contextlib.contextmanager
def gathered(value):
    found = []
    with telling():
        yield found
    found += gather_objects(value)


@contextlib.contextmanager
def whole(variables):
    del variables  # each process has all of them
    yield is_first()


def share(n):
    if _alone():
        return 0, n
    sizes = gather_integers(int(n))[:, 0]
    return int(sizes[: process()[0]].sum()), int(sizes.sum())


@torch.compiler.disable
def sum_over_replicas(tensors):
    tensors = list(tensors)
    if _alone():
        return tensors
    found, by_dtype = list(tensors), {}
    for i, tensor in enumerate(tensors):
        by_dtype.setdefault(tensor.dtype, []).append(i)
    with torch.no_grad(), _meeting():
        for places in by_dtype.values():
            joined = torch.cat([tensors[i].reshape(-1) for i in places])
            dist.all_reduce(joined)
            parts = joined.split([tensors[i].numel() for i in places])
            for i, part in zip(places, parts, strict=True):
                found[i] = part.reshape(tensors[i].shape)
    return found


def keras_loss(loss):
    return loss


@contextlib.contextmanager
def summed(variables):
    if _alone():
        yield
        return
    before = [variable.value.clone() for variable in variables]
    for variable, value in zip(variables, sum_over_replicas(before), strict=True):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def gather_rows(tree):
    if _alone():
        return tree
    leaves, spec = torch.utils._pytree.tree_flatten(tree)
    parts = gather_objects([leaf.detach().cpu() for leaf in leaves])
    joined = [torch.cat(values).to(get_device()) for values in zip(*parts, strict=True)]
    return torch.utils._pytree.tree_unflatten(joined, spec)


def begin_together(model, streams):
    if _alone():
        return
    if not model.optimizer.built:
        raise ValueError(
            "This model has layers that are built at their first call: call it on a batch before "
            "`fit`, so that all processes begin with the same weights."
        )
    with torch.no_grad(), _meeting():
        for variable in [*model.variables, *model.optimizer.variables]:
            value = variable.value.detach().clone().contiguous()
            dist.broadcast(value, src=0)
            variable.assign(value)
    rank = process()[0]
    for state in streams:  # Keras draws from the sum of seed and count
        state.assign(state.value + torch.tensor([rank * 1_000_003, 0], device=state.value.device))


def check_source(source):
    if _alone() or not isinstance(source, torch.utils.data.DataLoader):
        return
    plain = (torch.utils.data.RandomSampler, torch.utils.data.SequentialSampler)
    if isinstance(source.sampler, plain) and not isinstance(source.dataset, torch.utils.data.Subset):
        raise ValueError(
            f"The sampler of this DataLoader, {type(source.sampler).__name__}, gives all of the data "
            f"to each of {process()[1]} processes: pass it "
            "`sampler=torch.utils.data.DistributedSampler(dataset)`, or give each process a "
            "`torch.utils.data.Subset` of its own."
        )


def begin_pass(source, number):
    if isinstance(source, torch.utils.data.DataLoader):
        if isinstance(source.sampler, torch.utils.data.DistributedSampler):
            source.sampler.set_epoch(number)
