"""Make tests/conversion/{mdlm,duo,sdtt}.{safetensors,npz}: random weights, inputs, their code's logits.

    python tests/oracles/make_dit.py mdlm PATH/TO/mdlm/models/dit.py
    python tests/oracles/make_dit.py duo PATH/TO/duo/models/dit.py
    python tests/oracles/make_dit.py sdtt PATH/TO/sdtt/src/sdtt/models/dit_orig.py

The files come from the public repositories kuleshov-group/mdlm, s-sahoo/duo and jdeschena/sdtt, of
which nothing is kept here. What they import of flash-attn, which needs a GPU, is replaced by its
definition. Needs torch, einops, omegaconf, huggingface_hub and safetensors.
"""

import argparse
import importlib.util
import pathlib
import sys
import types

import numpy as np
import torch
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent.parent / "conversion"
HIDDEN, HEADS, BLOCKS, COND, VOCABULARY, LENGTH = 16, 2, 2, 12, 11, 7


def rotary(x, cos, sin):
    """Rotary embedding of `(batch, length, heads, d)` by angles `(length, d/2)`, in halves."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def rotary_qkv(qkv, cos, sin):
    """The same for queries and keys of `(batch, length, 3, heads, d)`."""
    q, k, v = qkv.unbind(2)
    return torch.stack([rotary(q, cos, sin), rotary(k, cos, sin), v], dim=2)


def attention(qkv, boundaries, longest, dropout, causal):
    """Softmax attention of `(batch · length, 3, heads, d)` within sequences of `longest` tokens."""
    assert not causal and not dropout and (boundaries.diff() == longest).all()
    q, k, v = (part.unflatten(0, (-1, longest)).transpose(1, 2) for part in qkv.unbind(1))
    weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
    return (weights @ v).transpose(1, 2).flatten(0, 1)


def stand_in():
    modules = {
        name: types.ModuleType(name)
        for name in (
            "flash_attn",
            "flash_attn.layers",
            "flash_attn.layers.rotary",
            "flash_attn.flash_attn_interface",
        )
    }
    modules["flash_attn"].layers = modules["flash_attn.layers"]
    modules["flash_attn"].flash_attn_interface = modules["flash_attn.flash_attn_interface"]
    modules["flash_attn.layers"].rotary = modules["flash_attn.layers.rotary"]
    modules["flash_attn.layers.rotary"].apply_rotary_emb_torch = rotary
    modules["flash_attn.layers.rotary"].apply_rotary_emb_qkv_ = rotary_qkv
    modules["flash_attn.flash_attn_interface"].flash_attn_varlen_qkvpacked_func = attention
    sys.modules.update(modules)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["mdlm", "duo", "sdtt"])
    parser.add_argument("code")
    args = parser.parse_args()
    stand_in()
    spec = importlib.util.spec_from_file_location("dit", args.code)
    dit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dit)
    model = {"hidden_size": HIDDEN, "n_heads": HEADS, "n_blocks": BLOCKS, "cond_dim": COND}
    config = {
        "model": {**model, "dropout": 0.1, "scale_by_sigma": True, "length": LENGTH},
        "algo": {"causal_attention": False},
    }
    torch.manual_seed(args.name == "sdtt")  # MDLM's network again: other weights, another test
    network = dit.DIT(config, VOCABULARY).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # many begin at 0, which would hide mistakes
            parameter.add_(0.2 * torch.randn(parameter.shape))
        indices = torch.randint(0, VOCABULARY, (3, LENGTH))
        time = torch.tensor([0.05, 0.5, 0.95])
        # MDLM and SDTT tell their network no noise level; Duo that of the log-linear schedule.
        sigma = -torch.log1p(-(1 - 1e-3) * time) if args.name == "duo" else torch.zeros(3)
        logits = network(indices, sigma)
    FOLDER.mkdir(exist_ok=True)
    state = {f"backbone.{name}": value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, FOLDER / f"{args.name}.safetensors")
    np.savez(
        FOLDER / f"{args.name}.npz",
        z_t=indices.numpy().astype("int32"),
        t=time.numpy(),
        logits=logits.float().numpy(),
    )
    print(f"{args.name}: {sum(p.numel() for p in network.parameters())} weights")


if __name__ == "__main__":
    main()
