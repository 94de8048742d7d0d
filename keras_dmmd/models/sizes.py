"""Sizes of networks: some that have names, and which fit together."""

from keras_dmmd import checks

# None is known that is deeper, and more only take long to be built.
MOST_LAYERS = 1000
SIZES = {
    "nano": {"hidden_dim": 32, "num_layers": 2, "num_heads": 2, "cond_dim": 32},
    "tiny": {"hidden_dim": 128, "num_layers": 4, "num_heads": 4, "cond_dim": 64},
    "small": {"hidden_dim": 384, "num_layers": 8, "num_heads": 6, "cond_dim": 128},
    "base": {"hidden_dim": 768, "num_layers": 12, "num_heads": 12, "cond_dim": 128},
}


def check_sizes(network):
    """What sizes must be beside each other, and in the memory of this machine."""
    if network.position == "learned" and network.length is None and network.grid is None:
        raise ValueError("`position='learned'` needs `length` (or `grid`) to size its table.")
    if network.hidden_dim % network.num_heads:
        raise ValueError(
            f"`num_heads` must divide `hidden_dim`. Received: num_heads={network.num_heads}, "
            f"hidden_dim={network.hidden_dim}"
        )
    multiple = 2 if network.grid is None else 4
    if network.position == "rotary" and (network.hidden_dim // network.num_heads) % multiple:
        raise ValueError(
            f"Rotary positions need heads of a multiple of {multiple} features. "
            f"Received: {network.hidden_dim} / {network.num_heads} = "
            f"{network.hidden_dim // network.num_heads}"
        )
    learned = network.length if network.position == "learned" and network.length else 0
    tables = network.num_states + network.vocabulary_size + 2 * network.cond_dim + learned
    block = 4 * network.hidden_dim + 2 * network.mlp_dim + 6 * network.cond_dim
    numbers = network.hidden_dim * (tables + network.num_layers * block)
    names = ("vocabulary_size", "num_states", "hidden_dim", "num_layers", "mlp_dim", "cond_dim")
    sizes = ", ".join(f"{name}={getattr(network, name)}" for name in names)
    checks.weights_fit(f"A denoiser of {sizes}", numbers, network.variable_dtype)
