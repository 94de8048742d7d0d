"""KerasHub backbones as denoisers. The one module that imports keras_hub."""

import inspect

import keras
import numpy as np
from keras import layers, ops

from keras_dmmd import backend, checks
from keras_dmmd.models import changes, int8
from keras_dmmd.models import remat as rematerialization
from keras_dmmd.models.additions import Additions
from keras_dmmd.models.plain import plain, plain_policy

try:
    import keras_hub
except ImportError as error:
    raise ImportError("keras_dmmd.models.hub needs the package: pip install keras-hub") from error

POSITIONS = keras_hub.layers.PositionEmbedding  # learned, of a number of tokens that is fixed


@keras.saving.register_keras_serializable("keras_dmmd")
class HubDenoiser(Additions, layers.Layer):
    """A KerasHub backbone, or a masked language model with its head, as a denoiser.

    Tokens are embedded by the backbone's own table. Time, the random input of a student and the mark
    of given tokens are added to the embeddings and start as 0, so that at first the network is what
    it was: a masked language model's guess for every masked token.

    Args:
        model: a `keras_hub.models.MaskedLM`, whose head is used with its weights, or a `Backbone` with
            attention in both directions; its logits then come from the token table where that is
            reversible, and from a new layer of zeros where it is not.
        mask_token_id: the backbone's own id of a mask, such as `tokenizer.mask_token_id`; it is never
            predicted. `None` gives masks a new embedding, the mean of all.
        share: whether the weights are those of `model`, and change with it, or a copy.
        cond_dim: features of the time vector, or `None` for a network that is not told the time, as a
            masked process allows.
        prompts: whether the network is told which tokens are given.
        noise: the random input of a student, see `keras_dmmd.Denoiser`.
        remat: whether gradients make again what a block of the backbone did, and keep its input alone.
            The backbone must be without dropout.

    Raises:
        ValueError: it is another model, or a backbone that looks back only, as GPT-2's and Llama's do,
            or one with dropout where `remat` is asked for.

    Call arguments:
        z_t: ids `(batch, length)`, no longer than the backbone has learned positions for;
            `vocabulary_size` is the mask.
        t: times `(batch,)`.
        known: which tokens are given, bool `(batch, length)`, or `None`.
        valid: which positions are no padding, bool `(batch, length)`, or `None` for all.
        noise: what `sample_noise` returned, or `None`.

    Example:

    ```python
    masked_lm = keras_hub.models.BertMaskedLM.from_preset("bert_tiny_en_uncased", preprocessor=None)
    denoiser = kd.models.hub.HubDenoiser(masked_lm, mask_token_id=103)
    teacher = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(denoiser.vocabulary_size), length=128)
    ```
    """

    def __init__(
        self,
        model,
        mask_token_id=None,
        share=True,
        cond_dim=64,
        prompts=False,
        noise=None,
        remat=False,
        **kwargs,
    ):
        kwargs["autocast"] = False
        backbone = getattr(model, "backbone", model)
        if not isinstance(backbone, keras_hub.models.Backbone) or "token_ids" not in backbone.input:
            raise ValueError(
                "`model` must be a keras_hub Backbone of text, or a MaskedLM with one. "
                f"Received: {model!r}"
            )
        unknown = set(backbone.input) - {"token_ids", "padding_mask", "segment_ids"}
        if unknown:
            raise ValueError(
                f"A denoiser is given tokens alone, but this {type(backbone).__name__} also needs "
                f"{sorted(unknown)}."
            )
        if not _reads_both_ways(backbone):
            options = inspect.signature(type(backbone)).parameters
            option = "use_bidirectional_attention"
            hint = f" Make it with `{option}=True`." if option in options else ""
            raise ValueError(
                f"This {type(backbone).__name__} looks back only: a denoiser reads in both directions, "
                f"as the backbones of masked language models do, BERT's for instance.{hint}"
            )
        kwargs.setdefault("dtype", plain_policy(backbone.dtype_policy))
        super().__init__(**kwargs)
        if not share:
            model = clone(model)
        self.model, self.mask_token_id = model, mask_token_id
        self.backbone = getattr(model, "backbone", model)
        self.vocabulary_size = self.backbone.vocabulary_size
        self.num_states = self.vocabulary_size + 1
        tables = [part for part in self.backbone._flatten_layers() if isinstance(part, POSITIONS)]
        self.max_length = min((table.sequence_length for table in tables), default=None)
        self.padding = "padding_mask" in self.backbone.input
        if mask_token_id is not None and not 0 <= mask_token_id < self.vocabulary_size:
            raise ValueError(
                f"`mask_token_id` must be an id of the backbone, 0..{self.vocabulary_size - 1}. "
                f"Received: {mask_token_id!r}"
            )
        self.make_additions(self.backbone.hidden_dim, cond_dim, prompts, noise)
        self._head = self._make_head()
        # In a closure: as an attribute, the same weights would be kept and saved twice.
        self._encode = _after_embedding(self.backbone)
        self.remat = remat
        self.build()

    @property
    def remat(self):
        return self._remat

    @remat.setter
    def remat(self, remat):
        if checks.flag("remat", remat):
            rematerialization.check_no_dropout(self.backbone)
        self._remat = remat

    def _make_head(self):
        """A function from features to logits, both `(batch, length, …)`."""
        head = getattr(self.model, "masked_lm_head", None)
        if head is not None:

            def predict(x):
                positions = ops.broadcast_to(ops.arange(ops.shape(x)[1]), ops.shape(x)[:2])
                return head(x, positions)

            return predict
        table = self.backbone.token_embedding
        if hasattr(table, "reverse_embeddings") or hasattr(table, "tie_weights"):
            return lambda x: table(x, reverse=True)
        self.head = layers.Dense(
            self.vocabulary_size, kernel_initializer="zeros", dtype=self.dtype_policy, name="head"
        )
        return self.head

    def build(self, input_shape=None):
        if self.built:
            return
        hidden_dim = self.backbone.hidden_dim
        if self.mask_token_id is None:
            self.mask_embedding = self.add_weight(
                name="mask_embedding", shape=(hidden_dim,), initializer=self._mean_embedding
            )
        self.build_additions(hidden_dim)
        if hasattr(self, "head"):
            self.head.build((None, None, hidden_dim))
        self.built = True

    def _mean_embedding(self, shape, dtype=None):
        """An initializer: it asks for the table's values when memory is taken, not before."""
        table = self.backbone.token_embedding.embeddings
        mean = backend.to_numpy(ops.convert_to_tensor(table)).mean(axis=0)
        return ops.convert_to_tensor(mean.reshape(shape), dtype)

    def call(self, z_t, t, known=None, valid=None, noise=None, training=False):
        return self.logits(self.features(z_t, t, known, valid, noise, training))

    def features(self, z_t, t, known=None, valid=None, noise=None, training=False):
        """All of a call but its head, `(batch, length, hidden_dim)`; arguments as of a call."""
        if self.max_length is not None and z_t.shape[1] is not None and z_t.shape[1] > self.max_length:
            raise ValueError(
                f"This {type(self.backbone).__name__} has positions for {self.max_length} tokens. "
                f"Received: {z_t.shape[1]} tokens."
            )
        masked = ops.equal(z_t, self.vocabulary_size)
        ids = ops.where(masked, self.mask_token_id or 0, z_t)
        x = _embedding(self.backbone)(ids)
        if self.mask_token_id is None:
            # Into the place of token 0's vector, which positions may have been added to.
            first = self.backbone.token_embedding(ops.zeros((1,), "int32"))[0]
            shift = ops.cast(self.mask_embedding, x.dtype) - ops.cast(first, x.dtype)
            x = x + ops.cast(ops.expand_dims(masked, -1), x.dtype) * shift
        x = self.add(x, t, known, noise)
        int8.differentiable(self.backbone.token_embedding)
        return self._encode(x, valid, training, self.remat)

    def logits(self, features):
        """Features to logits, `(batch, length, K)`, float32: the head, token by token."""
        logits = ops.cast(self._head(features), "float32")
        if self.mask_token_id is None:
            return logits
        never = ops.one_hot(self.mask_token_id, self.vocabulary_size, dtype="float32")
        return logits - 1e9 * never

    def compute_output_shape(self, z_t_shape, *args, **kwargs):
        return (*z_t_shape, self.vocabulary_size)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            # A task compiles itself when it is made.
            "model": plain(
                {k: v for k, v in serialize(self.model).items() if k != "compile_config"},
                plain_policy(self.backbone.dtype_policy),
            ),
            "mask_token_id": self.mask_token_id,
            "remat": self.remat,
            **self.additions_config(),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        model = config["model"]
        if isinstance(model, dict):
            if "backbone" in model["config"]:  # a task, which would make an optimizer for itself
                model = {**model, "config": {**model["config"], "compile": False}}
            config["model"] = keras.saving.deserialize_keras_object(model)
        return cls(**config)

    @classmethod
    def from_preset(cls, preset, backbone_options=None, **kwargs):
        """From a KerasHub preset: a local folder, a name or a handle.

        A preset with the weights of a masked language model's head brings it; of any other only the
        backbone is used.

        Args:
            preset: as in `keras_hub.models.Backbone.from_preset`.
            backbone_options: a dict that overrides the preset's own settings of the backbone:
                `{"use_bidirectional_attention": True}` for Gemma 3.
            **kwargs: of `HubDenoiser`.
        """
        backbone = keras_hub.models.Backbone.from_preset(preset, **(backbone_options or {}))
        task = _masked_lm_class(backbone)
        if task is not None and _has_task_weights(preset) and not backbone_options:
            return cls(task.from_preset(preset, preprocessor=None), **kwargs)
        return cls(backbone, **kwargs)


def causal_lm(folder):
    """A causal language model of KerasHub, which judges texts: see `metrics.CausalReference`.

    Example:

    ```python
    model = kd.models.hub.causal_lm("runs/smollm2")  # of examples/smollm2_preset.py
    ```
    """
    return keras_hub.models.CausalLM.from_preset(folder, preprocessor=None, dtype="float32")


def clone(model):
    """A KerasHub model of its own with the same weights.

    Example:

    ```python
    bert = keras_hub.models.Backbone.from_preset("bert_tiny_en_uncased")
    copy = kd.models.hub.clone(bert)
    ```
    """
    policy = plain_policy(getattr(model, "backbone", model).dtype_policy)
    copy = type(model).from_config(plain(model.get_config(), policy))
    changes.restore(changes.layers_of(copy), changes.read(changes.layers_of(model)))
    copy.set_weights(model.get_weights())
    return copy


def _reads_both_ways(backbone):
    """Whether a token reaches the features of those before it."""
    if _masked_lm_class(backbone) is not None:
        return True
    # Asked by two texts that differ after their first token: causal attention leaves that as it was.
    size, found = backbone.token_embedding.input_dim, []
    for shift in (1, 2):
        tokens = (size - 1 - shift * np.arange(4)[None]) % size
        inputs = {"token_ids": tokens, "padding_mask": 1 + 0 * tokens, "segment_ids": 0 * tokens}
        output = backbone({name: inputs[name].astype("int32") for name in backbone.input})
        output = output["sequence_output"] if isinstance(output, dict) else output
        found.append(ops.convert_to_numpy(ops.cast(output[0, 0], "float32")))
    return float(np.abs(found[0] - found[1]).max()) > 1e-6 * float(np.abs(found[0]).max())


def _embedding(backbone):
    """The layer that makes vectors of ids: a table, or a table and positions in one."""
    return getattr(backbone, "embeddings", None) or backbone.token_embedding


def _after_embedding(backbone):
    """The rest of a backbone: a function from embeddings to features, both `(batch, length, …)`."""
    start = _embedding(backbone).output
    others = {name: x for name, x in backbone.input.items() if name != "token_ids"}
    output = backbone.output
    if isinstance(output, dict):
        output = output["sequence_output"]
    try:
        rest = keras.Model([start, *others.values()], output)
    except ValueError:  # ids are also read elsewhere, as for the padding mask of ESM
        others = dict(backbone.input)
        rest = keras.Model([start, *others.values()], output)
    not_padding = 1 if getattr(backbone, "pad_token_id", 0) == 0 else 0

    def encode(x, valid=None, training=False, remat=False):
        shape = ops.shape(x)[:2]
        fill = {"token_ids": not_padding, "padding_mask": 1, "segment_ids": 0}
        told = {name: ops.full(shape, fill[name], dtype="int32") for name in others}
        if valid is not None:
            told["padding_mask"] = ops.cast(valid, "int32")
        if remat:
            return rematerialization.run(rest, [x, *told.values()], training)
        return rest([x, *told.values()], training=training)

    return encode


def _masked_lm_class(backbone):
    """The masked language model of a backbone's kind, or `None`."""
    tasks = [getattr(keras_hub.models, name) for name in dir(keras_hub.models)]
    return next(
        (
            task
            for task in tasks
            if isinstance(task, type)
            and issubclass(task, keras_hub.models.MaskedLM)
            and task.backbone_cls is type(backbone)
        ),
        None,
    )


def _has_task_weights(preset):
    """Whether a preset holds the weights of a task, and that is a masked language model."""
    from keras_hub.src.utils.preset_utils import TASK_CONFIG_FILE, check_file_exists, load_json

    if not check_file_exists(preset, TASK_CONFIG_FILE):
        return False
    return load_json(preset, TASK_CONFIG_FILE)["class_name"].endswith(("MaskedLM", "MaskedPLM"))
