"""Sizes of networks: some that have names, and which fit together."""

from keras_dmmd import checks

# None is known that is deeper, and more only take long to be built.
MOST_LAYERS = 1000
SIZES = {
    "tiny": {"hidden_dim": 128, "num_layers": 4, "num_heads": 4, "cond_dim": 64},
    "small": {"hidden_dim": 384, "num_layers": 8, "num_heads": 6, "cond_dim": 128},
    "base": {"hidden_dim": 768, "num_layers": 12, "num_heads": 12, "cond_dim": 128},
}


def check_sizes(denoiser):
    """What sizes must be beside each other, and in the memory of this machine."""
    if denoiser.position == "learned" and denoiser.length is None and denoiser.grid is None:
        raise ValueError("`position='learned'` needs `length` (or `grid`) to size its table.")
    if denoiser.hidden_dim % denoiser.num_heads:
        raise ValueError(
            f"`num_heads` must divide `hidden_dim`. Received: num_heads={denoiser.num_heads}, "
            f"hidden_dim={denoiser.hidden_dim}"
        )
    multiple = 2 if denoiser.grid is None else 4
    if denoiser.position == "rotary" and (denoiser.hidden_dim // denoiser.num_heads) % multiple:
        raise ValueError(
            f"Rotary positions need heads of a multiple of {multiple} features. "
            f"Received: {denoiser.hidden_dim} / {denoiser.num_heads} = "
            f"{denoiser.hidden_dim // denoiser.num_heads}"
        )
    learned = denoiser.length if denoiser.position == "learned" and denoiser.length else 0
    tables = denoiser.num_states + denoiser.vocabulary_size + 2 * denoiser.cond_dim + learned
    block = 4 * denoiser.hidden_dim + 2 * denoiser.mlp_dim + 6 * denoiser.cond_dim
    numbers = denoiser.hidden_dim * (tables + denoiser.num_layers * block)
    names = ("vocabulary_size", "num_states", "hidden_dim", "num_layers", "mlp_dim", "cond_dim")
    sizes = ", ".join(f"{name}={getattr(denoiser, name)}" for name in names)
    checks.weights_fit(f"A denoiser of {sizes}", numbers, denoiser.variable_dtype)
