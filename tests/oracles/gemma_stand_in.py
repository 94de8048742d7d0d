"""A DiffusionGemma of the parts of Gemma 4 that KerasHub 0.32 has, for releases without the class.

It stands for `keras_hub.models.DiffusionGemmaBackbone` as far as `DiffusionGemmaDenoiser` uses that.
"""

import keras
from keras import layers
from keras_hub.src.models.gemma4.gemma4_decoder_block import Gemma4TextDecoderBlock
from keras_hub.src.models.gemma4.gemma4_layers import Gemma4VNorm, RMSNormalization

# A small network.
CONFIG = {
    "vocabulary_size": 13,
    "image_size": 16,
    "num_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window_size": 4,
    "num_query_heads": 2,
    "num_key_value_heads": 2,
    "num_global_key_value_heads": 1,
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "head_dim": 4,
    "global_head_dim": 8,
    "global_rope_partial_rotary_factor": 0.5,
    "global_rope_wavelength": 1000.0,
    "local_rope_wavelength": 100.0,
    "attention_logit_soft_cap": 5.0,
    "final_logit_soft_cap": 3.0,
    "use_bidirectional_attention": False,
    "enable_moe_block": False,
    "num_experts": None,
    "expert_intermediate_dim": None,
    "num_experts_per_token": 2,
}


class Block(Gemma4TextDecoderBlock):
    """A layer of Gemma 4 with another scale for what is read."""

    def build(self, input_shape):
        super().build(input_shape)
        self.encoder_layer_scalar = self.add_weight(
            name="encoder_layer_scalar", shape=(), initializer="ones", trainable=False
        )


class SelfConditioning(layers.Layer):
    def __init__(self, hidden_dim, intermediate_dim, **kwargs):
        super().__init__(**kwargs)
        for name, size in (
            ("gate_proj", intermediate_dim),
            ("up_proj", intermediate_dim),
            ("down_proj", hidden_dim),
        ):
            setattr(self, name, layers.Dense(size, use_bias=False, name=name))
        self.pre_norm = RMSNormalization(name="pre_norm")
        self.post_norm = Gemma4VNorm(name="post_norm")

    def build(self, input_shape):
        for part in (self.pre_norm, self.post_norm, self.gate_proj, self.up_proj):
            part.build(input_shape)
        self.down_proj.build((None, None, self.gate_proj.units))


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class StandIn(keras.Model):
    """Arguments as of `DiffusionGemmaBackbone`."""

    def __init__(self, name=None, **config):
        super().__init__(name=name)
        self.config = config
        for key in ("vocabulary_size", "hidden_dim", "use_bidirectional_attention"):
            setattr(self, key, config[key])
        shape = (None, None, self.hidden_dim)
        self.token_embedding = layers.ReversibleEmbedding(
            self.vocabulary_size,
            self.hidden_dim,
            logit_soft_cap=config["final_logit_soft_cap"],
            name="token_embedding",
        )
        self.transformer_layers = [self._block(i) for i in range(config["num_layers"])]
        self.diffusion_self_conditioning = SelfConditioning(
            self.hidden_dim, config["intermediate_dim"], name="diffusion_self_conditioning"
        )
        self.layer_norm = RMSNormalization(name="final_normalization")
        self.token_embedding.build((None, None))
        for part in (*self.transformer_layers, self.diffusion_self_conditioning, self.layer_norm):
            part.build(shape)
        self.built = True

    def _block(self, i):
        config = self.config
        is_global = config["layer_types"][i] == "full_attention"
        kind = "global" if is_global else "local"
        names = ("hidden_dim", "intermediate_dim", "head_dim", "num_query_heads", "num_key_value_heads")
        names += ("sliding_window_size", "global_head_dim", "enable_moe_block", "num_experts")
        names += ("expert_intermediate_dim", "num_experts_per_token")
        return Block(
            **{key: config[key] for key in names},
            logit_soft_cap=config["attention_logit_soft_cap"],
            use_sliding_window_attention=not is_global,
            is_global_attention=is_global,
            rope_wavelength=config[f"{kind}_rope_wavelength"],
            rope_partial_rotary_factor=(
                config["global_rope_partial_rotary_factor"] if is_global else 1.0
            ),
            attention_k_eq_v=is_global,
            num_global_key_value_heads=config["num_global_key_value_heads"] if is_global else None,
            name=f"decoder_block_{i}",
        )

    def get_config(self):
        return {"name": self.name, **self.config}


class StandInLM:
    """For `DiffusionGemmaBlockDiffusionLM`: any preset is a small network of random weights."""

    def __init__(self, backbone, canvas_length):
        self.backbone, self.canvas_length = backbone, canvas_length

    @classmethod
    def from_preset(cls, name):
        del name
        return cls(StandIn(**CONFIG), canvas_length=256)
