"""Small transformers models with random weights, each with example inputs by name."""

from __future__ import annotations

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)

TEXT = {
    "hidden_size": 24,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 97,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
NO_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
VISION = {"image_size": 32, "num_labels": 5}


def _tokens(length=7):
    return torch.randint(3, 90, (2, length), generator=torch.Generator().manual_seed(1))


def _text(auto, kind, **options):
    return auto.from_config(AutoConfig.for_model(kind, **options)), {"input_ids": _tokens()}


def _image(kind, **options):
    config = AutoConfig.for_model(kind, **{**VISION, **options})
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return AutoModelForImageClassification.from_config(config), {"pixel_values": pixels}


def _t5():
    config = AutoConfig.for_model(
        "t5", d_model=24, d_ff=44, d_kv=6, num_heads=4, num_layers=2, vocab_size=97,
        decoder_start_token_id=0,
    )  # fmt: skip
    model = AutoModelForSeq2SeqLM.from_config(config)
    return model, {"input_ids": _tokens(), "decoder_input_ids": _tokens(5)}


_GPT2 = {"n_embd": 24, "n_layer": 2, "n_head": 4, "vocab_size": 97, "n_positions": 64, **NO_TOKENS}
_OPT = {**TEXT, "ffn_dim": 44, "word_embed_proj_dim": 24}
_DISTIL = {
    "dim": 24, "hidden_dim": 44, "n_layers": 2, "n_heads": 4, "vocab_size": 97,
    "max_position_embeddings": 64,
}  # fmt: skip
_TWO = {"num_key_value_heads": 2}
_GEMMA4 = {
    "head_dim": 8, "global_head_dim": 16, "hidden_size_per_layer_input": 0,
    "layer_types": ["sliding_attention", "full_attention"],
}  # fmt: skip
_LM, _MLM = AutoModelForCausalLM, AutoModelForMaskedLM

SUITE = {
    "bert": lambda: _text(_MLM, "bert", **TEXT),
    "roberta": lambda: _text(_MLM, "roberta", **TEXT),
    "distilbert": lambda: _text(_MLM, "distilbert", **_DISTIL),
    "gpt2": lambda: _text(_LM, "gpt2", **_GPT2),
    "opt": lambda: _text(_LM, "opt", **_OPT),
    "llama": lambda: _text(_LM, "llama", **TEXT, **_TWO),
    "qwen2": lambda: _text(_LM, "qwen2", **TEXT, **_TWO),
    "qwen3": lambda: _text(_LM, "qwen3", **TEXT, **_TWO, head_dim=8),
    "mistral": lambda: _text(_LM, "mistral", **TEXT, **_TWO),
    "gemma": lambda: _text(_LM, "gemma", **TEXT, num_key_value_heads=1, head_dim=8),
    "gemma3_text": lambda: _text(_LM, "gemma3_text", **TEXT, num_key_value_heads=1, head_dim=8),
    "gemma4_text": lambda: _text(_LM, "gemma4_text", **TEXT, **_TWO, **_GEMMA4),
    "phi3": lambda: _text(_LM, "phi3", **TEXT, **_TWO),
    "gpt_neox": lambda: _text(_LM, "gpt_neox", **TEXT),
    "mixtral": lambda: _text(_LM, "mixtral", **TEXT, **_TWO, num_local_experts=4),
    "t5": _t5,
    "vit": lambda: _image(
        "vit", hidden_size=24, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
        patch_size=8,
    ),
    "swin": lambda: _image(
        "swin", embed_dim=12, depths=[2, 2], num_heads=[2, 4], patch_size=4, window_size=4
    ),
    "convnext": lambda: _image("convnext", hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1]),
    "resnet": lambda: _image(
        "resnet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="bottleneck"
    ),
    "mobilenet_v2": lambda: _image("mobilenet_v2", depth_multiplier=0.35),
}  # fmt: skip


def build(name):
    """Return a model of the suite in evaluation mode and its inputs by name."""
    torch.manual_seed(0)
    model, inputs = SUITE[name]()
    return model.eval(), inputs
