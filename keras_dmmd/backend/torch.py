"""Torch: eager by default, `torch.compile` on request; a key is a tuple of one 64-bit integer."""

import math

import keras
import torch
import torch.utils.checkpoint
from keras.src.backend.torch.core import get_device

from keras_dmmd.backend import splitmix
from keras_dmmd.backend.alone import (
    argmin,
    check_backup,
    check_copies,
    hide_devices,
    in_words,
    kept_value,
    on_these_devices,
    parts,
    predictor,
    reads_whole,
    scope_of,
    show_devices,
    split_rows,
    to_numpy,
    undivided,
    whole_if_uneven,
)
from keras_dmmd.backend.torch_processes import (
    agreed,
    begin_pass,
    begin_together,
    check_source,
    data_part,
    from_first,
    gather_integers,
    gather_objects,
    gather_rows,
    gathered,
    is_first,
    keras_loss,
    process,
    share,
    sum_over_replicas,
    summed,
    telling,
    whole,
)

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

COMPILES = False
ITERATORS_PER_EPOCH = 1


def key(seed):
    if getattr(seed, "is_meta", False):
        return (0,)  # a symbolic build: only shapes matter
    high, low = seed.tolist() if hasattr(seed, "tolist") else seed
    return (splitmix.word(splitmix.word(int(high) & splitmix.MASK) ^ (int(low) & splitmix.MASK)),)


def is_key(seed):
    if isinstance(seed, torch.Tensor):
        return seed.dtype == torch.int64 and seed.ndim == 1
    return isinstance(seed, tuple) and len(seed) == 1 and isinstance(seed[0], int)


def is_row_key(key):
    return isinstance(key, torch.Tensor)


def seed_keys(seeds):
    return splitmix.mix(splitmix.mix(seeds.to(torch.int64)))


@torch.compiler.disable
def row_keys(key, rows):
    own = splitmix.mix(key) if isinstance(key, torch.Tensor) else splitmix.signed(splitmix.word(key[0]))
    return splitmix.mix(splitmix.mix(rows.to(torch.int64) + 1) ^ own)


def pick(key, n, i):
    del n  # what is split off does not depend on how many are
    return splitmix.mix(key ^ splitmix.mix(i.to(torch.int64) + 1))


def is_symbolic(size):
    return isinstance(size, torch.SymInt)


def split(key, n):
    if isinstance(key, torch.Tensor):
        return [splitmix.mix(key ^ splitmix.signed(splitmix.word(i + 1))) for i in range(n)]
    return [(splitmix.word(key[0] ^ splitmix.word(i + 1)),) for i in range(n)]


def _generator(key):
    if get_device() == "meta":
        return None
    generator = torch.Generator(device=get_device())
    generator.manual_seed(key[0])
    return generator


@torch.compiler.disable
def uniform(key, shape):
    if isinstance(key, torch.Tensor):
        return _hashed_rows("uniform", key, shape)
    return torch.rand(shape, generator=_generator(key), dtype=torch.float32, device=get_device())


@torch.compiler.disable
def normal(key, shape):
    if isinstance(key, torch.Tensor):
        return _hashed_rows("normal", key, shape)
    return torch.randn(shape, generator=_generator(key), dtype=torch.float32, device=get_device())


# Torch draws from one generator at a time, and to seed one for every row would take longer than short
# rows do. A key per row is a tensor of 64-bit integers, and every draw a function of key and place: the
# stream of SplitMix64 from that key.


def _hashed_rows(kind, keys, shape):
    """Multiples of 2^-24 in [0, 1), or what the inverse of the normal distribution makes of them."""
    places = torch.arange(math.prod(shape[1:]), device=keys.device) * splitmix.signed(
        0x9E3779B97F4A7C15
    )
    bits = (
        splitmix.mix(keys[:, None] + places).bitwise_right_shift_(40).bitwise_and_(splitmix.MASK >> 40)
    )
    u = bits.to(torch.float32).mul_(2.0**-24).reshape(tuple(shape))
    return u if kind == "uniform" else 2.0**0.5 * torch.erfinv(2.0 * u - 1.0 + 2.0**-24)


def exponential(coarse, fine):
    """See `keras_dmmd.random.exponential`; in place, since eager passes over memory are the cost."""
    cells = 2.0**23
    v = coarse.mul_(cells).floor_().add_(fine + 2.0**-24).div_(cells).clamp_(max=1.0 - 2.0**-24)
    return v.neg_().log1p_().neg_()


def value_and_grad(fn, variables):
    values = [variable.value for variable in variables]
    with torch.enable_grad():  # also within `compile_inference`
        loss, aux = fn()
    gradients = torch.autograd.grad(loss, values, allow_unused=True)
    return (loss.detach(), aux), [
        torch.zeros_like(v) if g is None else g for g, v in zip(gradients, values, strict=True)
    ]


def gather_last(x, places):
    # Keras's `take_along_axis` broadcasts, by which `torch.export` makes a free batch a constant.
    x, places = map(keras.ops.convert_to_tensor, (x, places))
    if x.shape[:-1] != places.shape[:-1]:
        rows = torch.broadcast_shapes(x.shape[:-1], places.shape[:-1])
        x, places = x.expand(*rows, x.shape[-1]), places.expand(*rows, places.shape[-1])
    return torch.gather(x, -1, places.long())


def wait_for(x, norm):
    """`x`: operations run in the order in which they are written."""
    del norm
    return x


def keep_unfused(x, z):
    """`x`: nothing is fused."""
    del z
    return x


def map_tiles(fn, tensors, n):
    tiles = list(zip(*(x.unbind(0) for x in tensors), strict=True))
    found = []
    for tile in tiles[: int(n)]:
        if torch.is_grad_enabled():
            kept = remat(fn)(*tile)
        else:
            kept = fn(*tile)
        found.append(kept)
    if not found:  # their number, and nothing in them
        found = [tuple(0.0 * x for x in fn(*tiles[0]))]
    rest = [torch.zeros_like(x) for x in found[0]]
    found += [rest] * (len(tiles) - len(found))
    return tuple(torch.stack(values) for values in zip(*found, strict=True))


def sum_parts(fn, tensors, n):
    sums = None
    for i in range(n):
        found = fn(i, *(x[i] for x in tensors))
        sums = found if sums is None else keras.tree.map_structure(torch.add, sums, found)
    return sums


def remat(fn):
    def wrapped(*tensors):
        return torch.utils.checkpoint.checkpoint(
            fn, *tensors, use_reentrant=False, preserve_rng_state=False
        )

    return wrapped


def no_gradient():
    return torch.no_grad()


def apply_gradients(optimizer, gradients, variables, where=None):
    if where is None or bool(where):
        with torch.no_grad():
            optimizer.apply(gradients, variables)


class StatefulTrainStep:
    """`update(data)` is the train step as it stands."""

    def train_step(self, data):
        return self.update(data)


def unshare(variables):
    """Variables never share memory here."""
    del variables


def retrack(layers):
    """Let go of variables that are layers' no more, which PyTorch's lists of parameters still hold."""
    for layer in layers:
        layer._track_variables()


def keeper(variables):
    del variables  # they hold their values whatever happens
    return lambda model: None


def pass_over(steps, data):
    """What a train function returns that has not trained on its data."""
    del steps, data
    return {}


def return_state(model):
    del model  # its variables hold their values all the time


def compile_inference(fn, variables, jit_compile):
    del variables  # modules hold their parameters; torch.compile guards, never inlines them

    def inference(*args):
        with torch.no_grad():
            return fn(*args)

    return torch.compile(inference) if jit_compile else inference


def version():
    return torch.__version__


def device_name():
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def on_cpu():
    return get_device() == "cpu"


def is_out_of_memory(error):
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def synchronize(x):
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return x
