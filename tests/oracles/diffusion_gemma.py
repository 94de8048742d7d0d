"""DiffusionGemma in float64 numpy, from what is published of Gemma 4 and of it: no cache, no batches of
blocks, one row after the other.

A block is denoised by reading its prefix causally, and then the canvas beside keys and values of that.
"""

import numpy as np


def rms(x, epsilon=1e-6):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon)


def gelu(x):
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def turn(x, positions, wavelength, share):
    """Rotary positions of `(tokens, heads, d)`: the first `share` of the pairs (i, i + d/2) turn."""
    d = x.shape[-1]
    half, turned = d // 2, int(share * d) // 2
    x = x.copy()
    for i in range(turned):
        angle = positions * wavelength ** (-2.0 * i / d)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        first, second = x[..., i].copy(), x[..., i + half].copy()
        x[..., i], x[..., i + half] = first * cos - second * sin, second * cos + first * sin
    return x


class Oracle:
    """Logits of one canvas after a prefix.

    Args:
        weights: a dict from paths to arrays, as `{v.path: v}` of the backbone.
        config: of the backbone.
    """

    def __init__(self, weights, config):
        self.weights = {path: np.float64(value) for path, value in weights.items()}
        self.config = config

    def __getitem__(self, path):
        return self.weights[path]

    def logits(self, prefix, canvas, prediction=None):
        """Ids `(n,)` and `(b,)`, and probabilities `(b, K)` of the last call, to `(b, K)`."""
        table = self["token_embedding/embeddings"]
        scale = np.sqrt(table.shape[1])
        read, x = table[prefix] * scale, table[canvas] * scale
        if prediction is not None:
            own = "diffusion_self_conditioning/"
            soft = rms(prediction @ table * scale) * self[own + "pre_norm/scale"]
            hidden = gelu(soft @ self[own + "gate_proj/kernel"]) * (soft @ self[own + "up_proj/kernel"])
            x = x + hidden @ self[own + "down_proj/kernel"]
        x = rms(x)
        n, b = len(prefix), len(canvas)
        for i, kind in enumerate(self.config["layer_types"]):
            is_local = kind == "sliding_attention"
            reach = self.config["sliding_window_size"] if is_local else n + b
            back = np.arange(n)[:, None] - np.arange(n)
            read_next, memory = self.layer(
                i, read, np.arange(n), None, (back >= 0) & (back < reach), "encoder_layer_scalar"
            )
            seen = np.broadcast_to(np.arange(n) > n - reach, (b, n))
            mask = np.concatenate([seen, np.ones((b, b), bool)], axis=1)
            x, _ = self.layer(i, x, n + np.arange(b), memory, mask, "layer_scalar")
            read = read_next
        logits = (rms(x) * self["final_normalization/scale"]) @ table.T
        cap = self.config["final_logit_soft_cap"]
        return logits if cap is None else np.tanh(logits / cap) * cap

    def layer(self, i, x, positions, memory, mask, scalar):
        own = f"decoder_block_{i}/"

        def norm(name, x):
            return rms(x) * self[f"{own}{name}/scale"]

        mixed, memory = self.attention(i, norm("pre_attention_norm", x), positions, memory, mask)
        x = x + norm("post_attention_norm", mixed)
        hidden = norm("pre_ffw_norm", x)
        gate = gelu(hidden @ self[own + "ffw_gating/kernel"])
        hidden = gate * (hidden @ self[own + "ffw_gating_2/kernel"]) @ self[own + "ffw_linear/kernel"]
        if self.config["enable_moe_block"]:
            hidden = norm("post_ffw_norm_dense", hidden)
            experts = self.experts(own, x, norm("pre_ffw_norm_moe", x))
            hidden = hidden + norm("post_ffw_norm_moe_path", experts)
        return (x + norm("post_ffw_norm", hidden)) * self[own + scalar], memory

    def attention(self, i, x, positions, memory, mask):
        config, own = self.config, f"decoder_block_{i}/attention/"
        is_global = config["layer_types"][i] == "full_attention"
        kind = "global" if is_global else "local"
        wavelength = config[f"{kind}_rope_wavelength"] or (1e6 if is_global else 1e4)
        share = config["global_rope_partial_rotary_factor"] if is_global else 1.0
        query = np.einsum("td,ndh->tnh", x, self[own + "query/kernel"])
        query = turn(rms(query) * self[own + "query_norm/scale"], positions, wavelength, share)
        raw = np.einsum("td,ndh->tnh", x, self[own + "key/kernel"])
        key = turn(rms(raw) * self[own + "key_norm/scale"], positions, wavelength, share)
        if own + "value/kernel" in self.weights:  # elsewhere a value is its key
            raw = np.einsum("td,ndh->tnh", x, self[own + "value/kernel"])
        value = rms(raw)
        memory = (key, value) if memory is None else memory
        if memory[0] is not key:
            key, value = (np.concatenate(pair) for pair in zip(memory, (key, value), strict=True))
        groups = query.shape[1] // key.shape[1]
        key, value = (np.repeat(part, groups, axis=1) for part in (key, value))
        logits = np.einsum("tnh,snh->nts", query, key)
        cap = config["attention_logit_soft_cap"]
        logits = logits if cap is None else np.tanh(logits / cap) * cap
        weights = softmax(np.where(mask, logits, -np.inf)) if logits.size else logits
        mixed = np.einsum("nts,snh->tnh", weights, value)
        return np.einsum("tnh,nhd->td", mixed, self[own + "attention_output/kernel"]), memory

    def experts(self, own, x, inputs):
        bank, chosen = own + "moe_expert_bank/", self.config["num_experts_per_token"]
        routed = rms(x) * x.shape[-1] ** -0.5 * self[own + "moe_router/per_dim_scale"]
        shares = softmax(routed @ self[own + "moe_router/proj/kernel"])
        out = np.zeros_like(x)
        for token in range(len(x)):
            best = np.argsort(-shares[token])[:chosen]
            for e in best:
                gate = gelu(inputs[token] @ self[bank + "gate_proj"][e])
                hidden = gate * (inputs[token] @ self[bank + "up_proj"][e])
                made = hidden @ self[bank + "down_proj"][e] * self[bank + "per_expert_scale"][e]
                out[token] += shares[token, e] / shares[token, best].sum() * made
        return out
