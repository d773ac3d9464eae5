"""Pruned models as folders: what loads them, and that nothing of the outputs changes."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    Step3p7TextConfig,
    Step3p7TextModel,
)

import nodelens_hf
from nodelens.channels.infer import infer
from nodelens.errors import ModelError, RunError
from nodelens.removal.removal import remove
from nodelens_hf.hints import HINTS

LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 101,
}
X = torch.randint(3, 90, (2, 7), generator=torch.Generator().manual_seed(0))


def language_model(kind="llama", dtype=torch.float32, **options):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**LLAMA, **options})
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    model.config.use_cache = False
    return model


def halve(model, suffixes=(":neurons",), only=None, **inputs):
    graph = infer(model, **inputs)
    keep = {
        group.name: list(range(group.width // 8 * 4 or group.width // 2))
        for group in graph
        if group.prunable and group.name.endswith(suffixes) and (only is None or only in group.name)
    }
    assert keep
    return remove(model, graph, keep, hints=HINTS, **inputs)


@torch.no_grad()
def logits(model, inputs):
    return model(**inputs).logits


def test_one_width_for_all_layers_loads_with_plain_from_pretrained(tmp_path):
    model = language_model()
    halve(model, (":neurons", ":kv_groups"), input_ids=X)
    assert nodelens_hf.save(model, tmp_path / "out") == "transformers"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert loaded.config.intermediate_size == 24
    assert loaded.config.num_attention_heads == 2
    assert torch.equal(logits(loaded, {"input_ids": X}), logits(model, {"input_ids": X}))


def test_widths_that_differ_load_with_our_own_loader(tmp_path):
    model = language_model()
    halve(model, (":neurons", ":kv_groups"), only="layers.1", input_ids=X)
    assert nodelens_hf.save(model, tmp_path / "out") == "nodelens_hf"
    loaded = nodelens_hf.load(tmp_path / "out")
    assert torch.equal(logits(loaded, {"input_ids": X}), logits(model, {"input_ids": X}))
    assert not list((tmp_path / "out").glob("model*.safetensors"))


def test_a_fresh_process_needs_nothing_but_the_folder(tmp_path):
    model = language_model()
    halve(model, only="layers.0", input_ids=X)
    nodelens_hf.save(model, tmp_path / "out")
    code = (
        "import torch, nodelens_hf\n"
        f"model = nodelens_hf.load({str(tmp_path / 'out')!r})\n"
        f"print(model(torch.tensor({X.tolist()})).logits.double().sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = logits(model, {"input_ids": X}).double().sum().item()
    assert float(done.stdout) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tied", [True, False])
def test_ties_are_kept(tmp_path, tied):
    model = language_model(tie_word_embeddings=tied)
    halve(model, only="layers.0", input_ids=X)
    nodelens_hf.save(model, tmp_path / "out")
    loaded = nodelens_hf.load(tmp_path / "out")
    same = loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight
    assert same is tied


def test_constants_of_the_configuration_stay_those_of_the_dense_model(tmp_path):
    model = language_model("gemma", head_dim=8)
    halve(model, (":residual",), input_ids=X)
    nodelens_hf.save(model, tmp_path / "out")
    loaded = nodelens_hf.load(tmp_path / "out")
    assert torch.equal(logits(loaded, {"input_ids": X}), logits(model, {"input_ids": X}))


@pytest.mark.parametrize("only", [None, "layers.0"])
@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_half_precision_stays_half_precision(tmp_path, kind, only):
    model = language_model(kind, torch.bfloat16, head_dim=8)
    halve(model, only=only, input_ids=X)
    loader = nodelens_hf.save(model, tmp_path / "out")
    assert loader == ("nodelens_hf" if only else "transformers")
    loaded = nodelens_hf.load(tmp_path / "out")
    assert loaded.dtype == torch.bfloat16
    assert torch.equal(logits(loaded, {"input_ids": X}), logits(model, {"input_ids": X}))


def test_an_unpruned_model_is_an_ordinary_folder(tmp_path):
    model = language_model()
    assert nodelens_hf.save(model, tmp_path / "out") == "transformers"
    assert not (tmp_path / "out/README.md").exists()
    loaded = nodelens_hf.load(tmp_path / "out")
    assert torch.equal(logits(loaded, {"input_ids": X}), logits(model, {"input_ids": X}))


def test_where_the_weights_were_read_from_is_no_difference(tmp_path):
    model = language_model()
    model.is_quantized, model.quantization_method = True, "gguf"  # as transformers marks GGUF files
    assert nodelens_hf.save(model, tmp_path / "out") == "transformers"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(loaded, {"input_ids": X}), logits(model, {"input_ids": X}))


def test_a_folder_is_never_written_over_or_half_written(tmp_path, monkeypatch):
    model = language_model()
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match="exists already"):
        nodelens_hf.save(model, tmp_path / "out")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "save_pretrained", full)
    with pytest.raises(RunError, match="No space left on device"):
        nodelens_hf.save(model, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("damage", ["truncated", "json", "format", "missing"])
def test_a_damaged_folder_is_an_error_that_names_the_file(tmp_path, damage):
    model = language_model()
    halve(model, only="layers.0", input_ids=X)
    nodelens_hf.save(model, tmp_path / "out")
    weights, described = (tmp_path / "out" / f"nodelens.{end}" for end in ("safetensors", "json"))
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-50])
    elif damage == "missing":
        weights.unlink()
    elif damage == "json":
        described.write_text("{")
    else:
        described.write_text(json.dumps({"format": "other"}))
    with pytest.raises(ModelError, match=r"nodelens\."):
        nodelens_hf.load(tmp_path / "out")


def test_the_card_says_what_loads_the_folder_and_why(tmp_path):
    model = language_model()
    halve(model, input_ids=X)
    nodelens_hf.save(model, tmp_path / "plain", card="# A model\n")
    assert (tmp_path / "plain/README.md").read_text() == (
        "# A model\n\n## Loading\n\n```python\nimport transformers\n\n"
        "model = transformers.LlamaForCausalLM.from_pretrained(FOLDER)\n```\n"
    )
    other = language_model()
    halve(other, only="layers.1", input_ids=X)
    nodelens_hf.save(other, tmp_path / "own", card="# A model")
    text = (tmp_path / "own/README.md").read_text()
    assert "model = nodelens_hf.load(FOLDER)" in text
    assert (
        "In this way only: the configuration of llama cannot say that "
        "model.layers.1.mlp.gate_proj.weight has the shape 24×32." in text
    )


@pytest.mark.parametrize("only", [None, "layers.1"])
def test_tokenizer_and_generation_settings_are_written(tmp_path, tokenizer_folder, only):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    model = language_model()
    model.generation_config.temperature, model.generation_config.do_sample = 0.7, True
    halve(model, only=only, input_ids=X)
    nodelens_hf.save(model, tmp_path / "out", tokenizer=tokenizer)
    found = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert found("the fox")["input_ids"] == tokenizer("the fox")["input_ids"]
    assert GenerationConfig.from_pretrained(tmp_path / "out").temperature == 0.7
    assert not {path.suffix for path in (tmp_path / "out").iterdir()} & {".bin", ".pt", ".pkl"}


def test_a_width_of_one_layer_is_written_for_classes_that_read_widths_per_layer(tmp_path):
    torch.manual_seed(0)
    config = Step3p7TextConfig(
        vocab_size=101, hidden_size=24, intermediate_size=44, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
        mlp_layer_types=["dense"] * 2, sliding_window=16, use_cache=False,
    )  # fmt: skip
    model = Step3p7TextModel(config).eval()
    halve(model, (":kv_groups",), only="layers.1", input_ids=X)
    assert nodelens_hf.save(model, tmp_path / "out") == "transformers"
    written = json.loads((tmp_path / "out/config.json").read_text())
    assert written["per_layer_config"] == {
        "1": {"num_attention_heads": 2, "num_key_value_heads": 1}
    }
    loaded = Step3p7TextModel.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.equal(loaded(X)[0], model(X)[0])
        assert torch.equal(nodelens_hf.load(tmp_path / "out")(X)[0], model(X)[0])


def test_what_a_loaded_model_computes_does_not_depend_on_its_file(tmp_path):
    model = language_model()
    halve(model, only="layers.1", input_ids=X)
    nodelens_hf.save(model, tmp_path / "out")
    loaded = nodelens_hf.load(tmp_path / "out")
    (tmp_path / "out/nodelens.safetensors").write_bytes(b"")
    assert torch.equal(logits(loaded, {"input_ids": X}), logits(model, {"input_ids": X}))


def test_generation_settings_are_read_again(tmp_path):
    model = language_model()
    model.generation_config.eos_token_id = [3, 4]
    model.generation_config.max_new_tokens = 5
    halve(model, only="layers.0", input_ids=X)
    assert nodelens_hf.save(model, tmp_path / "out") == "nodelens_hf"
    found = nodelens_hf.load(tmp_path / "out").generation_config
    assert (found.eos_token_id, found.max_new_tokens) == ([3, 4], 5)


SENTENCE = r"nodelens_hf.save\(model, folder\) and load it with nodelens_hf.load\(folder\)"


def test_what_a_pruned_model_writes_of_itself_never_loads_with_other_constants(tmp_path):
    model = language_model("gemma", head_dim=8)
    halve(model, (":residual",), input_ids=X)
    model.save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match=SENTENCE):
        AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    with pytest.raises(ModelError, match=f"written by save_pretrained; .* {SENTENCE}"):
        nodelens_hf.load(tmp_path / "plain")
    nodelens_hf.save(model, tmp_path / "ours")
    with pytest.raises(ValueError, match=r"load with nodelens_hf.load\(folder\): the config"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    nodelens_hf.load(tmp_path / "ours").save_pretrained(tmp_path / "again")
    with pytest.raises(ValueError, match=SENTENCE):
        AutoModelForCausalLM.from_pretrained(tmp_path / "again")


def test_a_refused_removal_leaves_saving_as_it_was(tmp_path):
    model = language_model()
    graph = infer(model, input_ids=X)
    wrong = next(group for group in graph if group.kind == "value_dim")
    with pytest.raises(ModelError):
        remove(model, graph, {wrong.name: [0]}, input_ids=X)
    assert "save_pretrained" not in vars(model)


def test_copies_of_a_pruned_model_write_themselves(tmp_path):
    model = language_model()
    halve(model, input_ids=X)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.lm_head.weight.zero_()
    assert nodelens_hf.save(twin, tmp_path / "out") == "transformers"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not loaded.lm_head.weight.any()
    assert "save_pretrained" not in vars(loaded)


@pytest.mark.parametrize("write", [nodelens_hf.save, lambda model, to: model.save_pretrained(to)])
def test_widths_that_the_configuration_refuses_are_told(tmp_path, write):
    torch.manual_seed(0)
    sizes = {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 2, "chunk_size": 4}
    config = AutoConfig.for_model(
        "mamba2", hidden_size=32, num_hidden_layers=1, vocab_size=97, **sizes
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    halve(model, (":residual",), input_ids=X)
    with pytest.raises(ModelError, match="with the widths that are left, which Mamba2Config refus"):
        write(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
