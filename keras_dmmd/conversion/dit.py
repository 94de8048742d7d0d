"""Published teachers: the transformer of MDLM, Duo and SDTT, from their weight files.

One network of one family (Peebles & Xie's DiT over tokens): rotary positions, adaptive layer norm on
the noise level, a scale in every norm, the words of GPT-2. `Denoiser` is that network in one of its
configurations, so that its weights only have to be read.
"""

import os
import re

import numpy as np

from keras_dmmd import checks, schedules
from keras_dmmd.diffusion import MaskedDiffusion, UniformDiffusion
from keras_dmmd.models.denoiser import Denoiser
from keras_dmmd.optional import package
from keras_dmmd.presets import handles
from keras_dmmd.training.diffusion_model import DiffusionModel

WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
BLOCK = {
    "attention_norm.gamma": "norm1.weight",
    "qkv.kernel": "attn_qkv.weight",
    "attention_out.kernel": "attn_out.weight",
    "mlp_norm.gamma": "norm2.weight",
    "mlp_in.kernel": "mlp.0.weight",
    "mlp_in.bias": "mlp.0.bias",
    "mlp_out.kernel": "mlp.2.weight",
    "mlp_out.bias": "mlp.2.bias",
    "modulation.kernel": "adaLN_modulation.weight",
    "modulation.bias": "adaLN_modulation.bias",
}
REST = {
    "token_embedding.embeddings": "vocab_embed.embedding",
    "time_embedding.hidden.kernel": "sigma_map.mlp.0.weight",
    "time_embedding.hidden.bias": "sigma_map.mlp.0.bias",
    "time_embedding.out.kernel": "sigma_map.mlp.2.weight",
    "time_embedding.out.bias": "sigma_map.mlp.2.bias",
    "norm.gamma": "output_layer.norm_final.weight",
    "modulation.kernel": "output_layer.adaLN_modulation.weight",
    "modulation.bias": "output_layer.adaLN_modulation.bias",
    "head.kernel": "output_layer.linear.weight",
    "head.bias": "output_layer.linear.bias",
}


def load_dit(
    path,
    process="masked",
    length=1024,
    time_conditioning=None,
    num_heads=None,
    ema=True,
    tokenizer=None,
):
    """A teacher from the weights of MDLM, Duo or SDTT.

    Args:
        path: a `.safetensors` file, or a Lightning `.ckpt` or a `.pt` file, which needs Torch and is
            read as data, never as a program (`torch.load(weights_only=True)`); or a folder with one
            such file, or a handle of such a folder, `"hf://kuleshov-group/mdlm-owt"`.
        process: `"masked"`, where the last id of the vocabulary is the mask, or `"uniform"`.
        length: tokens of a sequence.
        time_conditioning: whether the network is told the noise level. By default for a uniform
            process only, as those models were trained: MDLM was told 0 throughout.
        num_heads: by default read from the file, which has the rotary frequencies of one head.
        ema: of a `.ckpt`, whether to take the average of the weights, if it has one.
        tokenizer: of the model, see `DiffusionModel`.

    Returns:
        A built `DiffusionModel` with a log-linear schedule.

    Raises:
        ValueError: the file's weights are not those of such a network.
    """
    process = checks.choice("process", process, ("masked", "uniform"))
    weights = read_weights(path, ema)
    missing = [name for name in REST.values() if name not in weights]
    if missing:
        raise ValueError(
            f"The weights in {os.fspath(path)!r} are not those of MDLM, Duo or SDTT: {missing[0]!r} "
            f"and {len(missing) - 1} more are missing among {sorted(weights)[:5]} …"
        )
    states, hidden_dim = weights["vocab_embed.embedding"].shape
    num_layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    if num_heads is None:
        if "rotary_emb.inv_freq" not in weights:
            raise ValueError("The file does not tell the number of heads: pass `num_heads`.")
        num_heads = hidden_dim // (2 * len(weights["rotary_emb.inv_freq"]))
    uniform = process == "uniform"
    schedule = schedules.LogLinearSchedule()
    diffusion = (UniformDiffusion if uniform else MaskedDiffusion)(states - (not uniform), schedule)
    denoiser = Denoiser(
        diffusion.vocabulary_size,
        num_states=states,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        mlp_dim=len(weights["blocks.0.mlp.0.bias"]),
        cond_dim=len(weights["sigma_map.mlp.0.bias"]),
        time_conditioning=uniform if time_conditioning is None else time_conditioning,
        time_schedule=schedule,
        num_frequencies=weights["sigma_map.mlp.0.weight"].shape[1] // 2,
        norm_scale=True,
        norm_epsilon=1e-5,
    )
    names = dict(REST)
    for i in range(num_layers):
        names |= {f"blocks.{i}.{ours}": f"blocks.{i}.{theirs}" for ours, theirs in BLOCK.items()}
    for ours, theirs in names.items():
        if theirs not in weights:
            raise ValueError(f"The weights in {os.fspath(path)!r} lack {theirs!r}.")
        value = weights[theirs]
        if ours.endswith("kernel"):
            value = value.T  # theirs are (out, in)
        variable = _find(denoiser, ours)
        # A masked network also predicts the mask, which is never clean.
        value = value[..., : variable.shape[-1]] if ours.startswith("head") else value
        if value.shape != tuple(variable.shape):
            raise ValueError(
                f"{theirs!r} has shape {value.shape}, but a network of {num_layers} blocks of "
                f"{hidden_dim} features needs {tuple(variable.shape)}."
            )
        variable.assign(value.astype("float32"))
    model = DiffusionModel(denoiser, diffusion, length=length, tokenizer=tokenizer)
    model.build((None, length))
    return model


def _find(denoiser, path):
    """The variable at a path of attributes and indices."""
    found = denoiser
    for name in path.split("."):
        found = found[int(name)] if name.isdigit() else getattr(found, name)
    return found


def read_weights(path, ema=True):
    """Arrays by their name within the network, float32 numpy."""
    path = _weights_file(
        handles.download(path) if handles.is_handle(path) else checks.path("path", path)
    )
    if path.endswith(".safetensors"):
        arrays = _read_safetensors(path)
    else:
        arrays = _read_torch(path, ema)
    # Lightning modules and torch.compile put their own names before those of the network.
    return {re.sub(r"^(_orig_mod\.|backbone\.|module\.|model\.)+", "", k): v for k, v in arrays.items()}


def _weights_file(path):
    """`path`, or the one file of weights in the folder that it is."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no weights file at {path!r}.")
    if not os.path.isdir(path):
        return path
    files = sorted(name for name in os.listdir(path) if name.endswith(WEIGHTS))
    # The same weights may lie there in both forms.
    files = [name for name in files if name.endswith(".safetensors")] or files
    if len(files) != 1:
        raise ValueError(
            f"A folder must hold one file of weights ({', '.join(WEIGHTS)}): give its path. "
            f"{path!r} has {files or 'none'}."
        )
    return os.path.join(path, files[0])


def _read_safetensors(path):
    safetensors = package("safetensors", f"Reading {path!r}", "safetensors")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: np.asarray(file.get_tensor(name), "float32") for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"The file {path!r} is damaged or no .safetensors file: {error}") from error


def _inert(name):
    """A class that takes everything and keeps nothing, in the place of the one called `name`."""

    def ignore(self, *args, **kwargs):
        pass

    return type(name.rpartition(".")[2], (), {"__init__": ignore, "__setstate__": ignore})


def _read_torch(path, ema):
    torch = package("torch", f"Reading {path!r}", "torch")
    try:
        # Lightning keeps its settings, objects of other packages, beside the weights. Each of their
        # classes is replaced by one that does nothing; what else a pickle could call stays refused.
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(_inert(name), name) for name in names]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle and zip errors of many kinds
        raise ValueError(
            f"The file {path!r} cannot be read as weights alone: it is damaged, or holds other "
            f"objects, which are not opened. Save its `state_dict` by itself. Cause: {error}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"The file {path!r} holds no weights by name: {type(content).__name__}")
    state = content.get("state_dict", content)
    arrays = {
        name: value.float().numpy() for name, value in state.items() if isinstance(value, torch.Tensor)
    }
    average = content.get("ema") if ema else None
    if average:
        # In the order of the parameters, without names; buffers are not averaged.
        names = [name for name in arrays if not name.endswith("inv_freq")]
        shadow = [value.float().numpy() for value in average["shadow_params"]]
        names = [name for name in names if name.startswith("backbone.")] or names
        if [arrays[name].shape for name in names] != [value.shape for value in shadow]:
            raise ValueError(
                f"The average of weights in {path!r} does not match them: pass `ema=False`."
            )
        arrays |= dict(zip(names, shadow, strict=True))
    return arrays
