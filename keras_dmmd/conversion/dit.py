"""Published teachers: the transformer of MDLM, Duo and SDTT, from their weight files.

One network of one family (Peebles & Xie's DiT over tokens): rotary positions, adaptive layer norm on
the noise level, a scale in every norm, the words of GPT-2. `Denoiser` is that network in one of its
configurations, so that its weights only have to be read.
"""

import functools
import os
import re

from keras_dmmd import checks, schedules, weight_files
from keras_dmmd.diffusion import MaskedDiffusion, UniformDiffusion
from keras_dmmd.models.denoiser import Denoiser
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
        path: a `.safetensors` file, or a Lightning `.ckpt` or a `.pt` file, which is read as data and
            never as a program, without Torch; or a folder with one such file, or a handle of such a
            folder, `"hf://kuleshov-group/mdlm-owt"`.
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
        ValueError: the file is damaged, or its weights are not those of such a network. Names and
            shapes are compared before memory is taken for them.
        OSError: there is no file, or it cannot be read.

    Example:

    ```python
    teacher = kd.conversion.load_dit("mdlm.safetensors", process="masked", length=128)
    tokens = teacher.generate(1, steps=8, seed=0)  # (1, 128)
    ```
    """
    process = checks.choice("process", process, ("masked", "uniform"))
    with _open(path, ema) as file:
        network = _Network(file, num_heads)
        uniform = process == "uniform"
        schedule = schedules.LogLinearSchedule()
        kind = UniformDiffusion if uniform else MaskedDiffusion

        def make():
            size = network.states - (not uniform)
            denoiser = network.denoiser(
                size,
                time_conditioning=uniform if time_conditioning is None else time_conditioning,
                time_schedule=schedule,
            )
            diffusion = kind(size, schedule)
            model = DiffusionModel(denoiser, diffusion, length=length, tokenizer=tokenizer)
            model.build((None, length))
            return model

        return weight_files.made_from(make, network.values, file.path)


class _Network:
    """The network in a file: its sizes by the shapes of its weights, and every weight's place.

    Args:
        file: a `keras_dmmd.weight_files.WeightFile`.
        num_heads: see `load_dit`.

    Raises:
        ValueError: weights are missing, or their shapes do not belong together.
    """

    def __init__(self, file, num_heads):
        self.file, self.names = file, _own_names(file)
        missing = [name for name in REST.values() if name not in self.names]
        if missing:
            raise ValueError(
                f"The weights in {file.path!r} are not those of MDLM, Duo or SDTT: {missing[0]!r} "
                f"and {len(missing) - 1} more are missing among {sorted(self.names)[:5]} …"
            )
        self.num_layers = self._count_blocks()
        self.places = dict(REST)
        for i in range(self.num_layers):
            self.places |= {
                f"blocks.{i}.{ours}": f"blocks.{i}.{theirs}" for ours, theirs in BLOCK.items()
            }
        for theirs in self.places.values():
            if theirs not in self.names:
                raise ValueError(f"The weights in {file.path!r} lack {theirs!r}.")
        file.check_size([self.names[name] for name in self.places.values()])
        self.states, self.hidden_dim = self._shape("vocab_embed.embedding", 2)
        if self.states < 3:
            raise ValueError(
                f"The weights in {file.path!r} are of {self.states} ids, which are no words."
            )
        self.num_heads = self._heads() if num_heads is None else num_heads

    def _count_blocks(self):
        blocks = set()
        for name in self.names:
            if name.startswith("blocks."):
                number = re.fullmatch(r"blocks\.(0|[1-9][0-9]{0,8})\..+", name)
                if number is None:
                    raise ValueError(
                        f"The weights in {self.file.path!r} have the odd name {name[:100]!r}."
                    )
                blocks.add(int(number[1]))
        absent = next(i for i in range(len(blocks) + 1) if i not in blocks)
        if absent < len(blocks) or not blocks:
            raise ValueError(
                f"The weights in {self.file.path!r} have {len(blocks)} blocks, the last of them "
                f"'blocks.{max(blocks, default=0)}', but lack 'blocks.{absent}'."
            )
        return len(blocks)

    def _heads(self):
        if "rotary_emb.inv_freq" not in self.names:
            raise ValueError(
                f"The file {self.file.path!r} does not tell the number of heads: pass `num_heads`."
            )
        (frequencies,) = self._shape("rotary_emb.inv_freq", 1)
        if not frequencies or self.hidden_dim % (2 * frequencies):
            raise ValueError(
                f"The weights in {self.file.path!r} have {frequencies} frequencies in "
                f"'rotary_emb.inv_freq' for {self.hidden_dim} features, which make no heads."
            )
        return self.hidden_dim // (2 * frequencies)

    def _shape(self, name, dimensions):
        shape = self.file.shape(self.names[name])
        if len(shape) != dimensions:
            raise ValueError(
                f"{name!r} in {self.file.path!r} has shape {shape}: it must have {dimensions} "
                "dimension(s)."
            )
        return shape

    def denoiser(self, vocabulary_size, **options):
        """A `Denoiser` of these sizes."""
        try:
            return Denoiser(
                vocabulary_size,
                num_states=self.states,
                hidden_dim=self.hidden_dim,
                num_layers=self.num_layers,
                num_heads=self.num_heads,
                mlp_dim=self._shape("blocks.0.mlp.0.bias", 1)[0],
                cond_dim=self._shape("sigma_map.mlp.0.bias", 1)[0],
                num_frequencies=self._shape("sigma_map.mlp.0.weight", 2)[1] // 2,
                norm_scale=True,
                norm_epsilon=1e-5,
                **options,
            )
        except ValueError as error:
            raise ValueError(f"The weights in {self.file.path!r} make no network: {error}") from error

    def values(self, model):
        """Of every weight the variable, and a function that reads it."""
        pairs = []
        for ours, theirs in self.places.items():
            variable = _find(model.denoiser, ours)
            shape, needed = self.file.shape(self.names[theirs]), tuple(variable.shape)
            # Theirs are (out, in); and a masked network also predicts the mask, which is never clean.
            needed = needed[::-1] if ours.endswith("kernel") else needed
            accepted = [needed, (self.states, *needed[1:])] if ours.startswith("head") else [needed]
            if shape not in accepted:
                raise ValueError(
                    f"{theirs!r} in {self.file.path!r} has shape {shape}, but a network of "
                    f"{self.num_layers} blocks of {self.hidden_dim} features needs {needed}."
                )
            pairs.append((variable, functools.partial(self._read, ours, theirs, needed)))
        return pairs

    def _read(self, ours, theirs, needed):
        value = self.file.read_finite(self.names[theirs])[: needed[0]]
        return value.T if ours.endswith("kernel") else value


def _find(denoiser, path):
    """The variable at a path of attributes and indices."""
    found = denoiser
    for name in path.split("."):
        found = found[int(name)] if name.isdigit() else getattr(found, name)
    return found


def _own_names(file):
    """Names within the network to those in the file, before which others put their own.

    Raises:
        ValueError: two arrays have one name within the network.
    """
    names = {}
    for theirs in file.names:
        # Of Lightning modules and of torch.compile.
        own = re.sub(r"^(_orig_mod\.|backbone\.|module\.|model\.)+", "", theirs)
        if own in names:
            raise ValueError(
                f"The weights in {file.path!r} have {own[:100]!r} twice, as "
                f"{names[own][:100]!r} and as {theirs[:100]!r}."
            )
        names[own] = theirs
    return names


def read_weights(path, ema=True):
    """Arrays by their name within the network, float32 numpy; the arguments are those of `load_dit`."""
    with _open(path, ema) as file:
        names = _own_names(file)
        file.check_size(names.values())
        return {own: file.read(theirs) for own, theirs in names.items()}


def _open(path, ema):
    path = handles.download(path) if handles.is_handle(path) else checks.path("path", path)
    path = _weights_file(path)
    if path.endswith(".safetensors"):
        return weight_files.SafetensorsFile(path)
    return weight_files.TorchFile(path, ema)


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
