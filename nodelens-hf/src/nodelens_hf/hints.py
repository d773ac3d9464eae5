"""Attributes of transformers' configurations that hold numbers of nodes.

The forward of most models does not read them, so that removal could not find them; a saved model is
built from them. A hint without its attribute, or without its groups, has no effect.
"""

from __future__ import annotations

from nodelens.removal.attribute_hints import AttributeHint

_NEURONS = (
    *("intermediate_size", "ffn_dim", "n_inner", "d_ff", "hidden_dim", "ffn_hidden_size"),
    *("encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size", "expert_ffn_hidden_size"),
    "intermediate_dim",
)
_INNER = (
    "*experts",
    "*mlp*",
    "*intermediate*",
    "*ffn*",
    "*fc1",
    "*.ff*",
    "*DenseReluDense*",
    "*lin1",
)
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads")
_RESIDUAL = ("hidden_size", "n_embd", "d_model", "dim")

HINTS = (
    *(
        AttributeHint(f"{owner}{name}", (f"{place}:neurons",))
        for owner in ("config.", "*.")
        for name in _NEURONS
        for place in _INNER
    ),
    AttributeHint("config.num_key_value_heads", ("*:kv_groups",)),
    AttributeHint("*.num_key_value_groups", ("*:query_heads",)),
    AttributeHint("*.num_key_value_groups", ("*:heads",)),
    AttributeHint("*.inner_dim", ("*:heads",), "indices"),
    *(
        AttributeHint(f"{owner}config.{name}", ("*:heads",))
        for owner in ("", "*.")
        for name in _HEADS
    ),
    *(AttributeHint(f"config.{name}", ("*:kv_groups", "*:query_heads")) for name in _HEADS),
    *(AttributeHint(f"config.{name}", ("*:residual",)) for name in _RESIDUAL),
)
"""Attributes that removal updates beside those found in the forward."""
