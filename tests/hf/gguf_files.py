"""A Llama as a GGUF file, with its tokenizer, as llama.cpp's converter would write it."""

from __future__ import annotations

import json

import gguf
import numpy as np

LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(path, model, tokenizer_file, quantized=None):
    """Write a Llama and the byte-level BPE tokenizer of a ``tokenizer.json``.

    `quantized` is a type of gguf for the matrices; None keeps float32.
    """
    writer = gguf.GGUFWriter(path, "llama")
    _write_sizes(writer, model.config)
    _write_tokenizer(writer, json.loads(tokenizer_file.read_text()))
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        values = _permuted(name, tensor.float().numpy(), model.config)
        if quantized is None or values.ndim == 1:
            writer.add_tensor(_name(name), values)
        else:
            writer.add_tensor(_name(name), gguf.quantize(values, quantized), raw_dtype=quantized)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_sizes(writer, config):
    writer.add_name("a small one")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer, described):
    numbers = described["model"]["vocab"]
    special = [each["id"] for each in described["added_tokens"]]
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(numbers, key=numbers.get))
    writer.add_token_types(
        [kinds.CONTROL if number in special else kinds.NORMAL for number in range(len(numbers))]
    )
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    for key, token in (("pad", "<pad>"), ("bos", "<s>"), ("eos", "</s>")):
        getattr(writer, f"add_{key}_token_id")(numbers[token])
    writer.add_add_space_prefix(False)
    writer.add_add_bos_token(False)


def _name(name):
    stem, _, end = name.rpartition(".")
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{end}"
    _, _, number, inner = stem.split(".", 3)
    return f"blk.{number}.{LAYER[inner]}.{end}"


def _permuted(name, values, config):
    """Return queries and keys with the halves of every head interleaved, as llama.cpp does."""
    heads = {
        "q_proj": config.num_attention_heads,
        "k_proj": config.num_key_value_heads,
    }.get(name.split(".")[-2])
    if heads is None:
        return values
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, values.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
