"""Configs of KerasHub models as they are before their layers are made integers."""

import keras


def plain(config, policy):
    """A KerasHub config whose layers are made as floats; what became of them is kept elsewhere.

    A backbone of integers names the policy of each such layer in a map, which each of them would have,
    and forgets its own.
    """
    if isinstance(config, list):
        return [plain(value, policy) for value in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicyMap":
        return keras.dtype_policies.serialize(policy)
    return {name: plain(value, policy) for name, value in config.items()}


def plain_policy(policy):
    """The policy of layers that a map of policies does not name."""
    return policy.default_policy if isinstance(policy, keras.dtype_policies.DTypePolicyMap) else policy
