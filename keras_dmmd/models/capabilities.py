"""What a denoiser can do: read once, in one place, from the layer that it is."""

import dataclasses
import inspect
from typing import Any

# The contract's names, with what is taken for an attribute that a layer lacks; docs/extending.md.
DEFAULTS = {
    "num_classes": None,
    "prompts": False,
    "self_conditioning": False,
    "step_conditioning": False,
    "padding": False,
    "block_size": None,
    "grid": None,
    "max_length": None,
}
BLOCK_METHODS = ("empty_cache", "extend")
HEAD_METHODS = ("features", "logits")


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a `DiffusionModel` may ask of its denoiser.

    Attributes:
        vocabulary_size: K, the number of clean tokens that it predicts.
        num_states: ids that its input may have.
        num_classes: labels that it can be told, or `None`.
        prompts: whether it is told which tokens are given.
        self_conditioning: whether it is shown its last prediction.
        step_conditioning: whether it is told how far a step goes.
        padding: whether it is told which positions are padding, and attends to none of them.
        block_size: tokens that it writes at once, block after block, or `None`, which is all of them.
        grid: `(rows, columns)` of an image, or `None`.
        max_length: the most tokens of a sequence that it has positions for, or `None` for any.
        noise: whether it has a random input.
        takes_noise: whether it can be copied with one.
        takes_steps: whether it can be copied so that it is told how far a step goes.
        noise_layer: the layer that projects it, whose weights a copy with another one leaves out, or
            `None`.
        step_layer: the layer that is told how far a step goes, or `None`.
        has_head: whether its call is `logits(features(z_t, t, ...))`, the first token by token.
        training_argument: whether it is told that it is trained.
        dtype_policy: its precision, or `None`.
    """

    vocabulary_size: int
    num_states: int
    num_classes: Any = None
    prompts: bool = False
    self_conditioning: bool = False
    step_conditioning: bool = False
    padding: bool = False
    block_size: Any = None
    grid: Any = None
    max_length: Any = None
    noise: bool = False
    takes_noise: bool = False
    takes_steps: bool = False
    noise_layer: Any = None
    step_layer: Any = None
    has_head: bool = False
    training_argument: bool = False
    dtype_policy: Any = None

    @property
    def added_layers(self):
        """Layers that a copy may have in addition, which adapters leave alone."""
        return [layer for layer in (self.noise_layer, self.step_layer) if layer is not None]

    @classmethod
    def of(cls, denoiser, process):
        """Of a Keras layer `denoiser(z_t, t)`, for a process, whose sizes it has where it says nothing.

        Raises:
            ValueError: it lacks a part that another one of its parts calls for, or does not fit the
                process.
        """
        try:
            names = [*inspect.signature(denoiser.call).bind("z_t", "t").arguments]
        except TypeError as error:
            raise ValueError(
                f"`denoiser` must be called as denoiser(z_t, t). Received: {denoiser!r}, with {error}"
            ) from None
        if names[1:] in (["training"], ["mask"]):  # of a functional model, which takes all as one
            raise ValueError(
                f"`denoiser` must be called as denoiser(z_t, t), but {denoiser!r} takes {names[1]!r} "
                "second. Wrap it in a layer whose `call(z_t, t)` gives it [z_t, t]."
            )
        found = {name: getattr(denoiser, name, default) for name, default in DEFAULTS.items()}
        found["prompts"] = bool(found["prompts"])
        found["self_conditioning"] = bool(found["self_conditioning"])
        found["step_conditioning"] = bool(found["step_conditioning"])
        found["padding"] = bool(found["padding"])
        for name in ("vocabulary_size", "num_states"):
            found[name] = getattr(denoiser, name, getattr(process, name))
        if found["vocabulary_size"] != process.vocabulary_size or (
            found["num_states"] < process.num_states
        ):
            raise ValueError(
                "`denoiser` must fit `process`: it takes "
                f"{found['num_states']} ids and predicts {found['vocabulary_size']}, but the process "
                f"has {process.num_states} and {process.vocabulary_size}."
            )
        if found["block_size"]:
            missing = [name for name in BLOCK_METHODS if not hasattr(denoiser, name)]
            if missing:
                raise ValueError(
                    f"A denoiser with a `block_size` needs the methods {', '.join(BLOCK_METHODS)}. "
                    f"{type(denoiser).__name__} lacks {', '.join(missing)}."
                )
        # A layer may have the argument `noise` and be made without it: its attribute is then `None`.
        layer = getattr(denoiser, "noise", None)
        absent = hasattr(denoiser, "noise") and layer is None
        return cls(
            **found,
            noise=hasattr(denoiser, "sample_noise") and not absent,
            takes_noise=hasattr(denoiser, "noise"),
            takes_steps=hasattr(denoiser, "step_conditioning"),
            noise_layer=layer,
            step_layer=getattr(denoiser, "step_embedding", None),
            has_head=all(callable(getattr(denoiser, name, None)) for name in HEAD_METHODS),
            training_argument="training" in inspect.signature(denoiser.call).parameters,
            dtype_policy=getattr(denoiser, "dtype_policy", None),
        )
