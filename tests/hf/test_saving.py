"""Pruned models as folders: what loads them, and that nothing of the outputs changes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

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


def _suite():
    place = Path(__file__).with_name("architectures.py")
    spec = importlib.util.spec_from_file_location("hf_saved_architectures", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SUITE = _suite()


def language_model(kind="llama", **options):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**LLAMA, **options})
    model = AutoModelForCausalLM.from_config(config).eval()
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


def test_half_precision_stays_half_precision(tmp_path):
    model = language_model().bfloat16()
    halve(model, only="layers.0", input_ids=X)
    nodelens_hf.save(model, tmp_path / "out")
    loaded = nodelens_hf.load(tmp_path / "out")
    assert loaded.dtype == torch.bfloat16
    assert torch.equal(logits(loaded, {"input_ids": X}), logits(model, {"input_ids": X}))


def test_an_unpruned_model_is_an_ordinary_folder(tmp_path):
    model = language_model()
    assert nodelens_hf.save(model, tmp_path / "out", card="# A model") == "transformers"
    assert (tmp_path / "out/README.md").read_text() == "# A model"
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
    with pytest.raises(RunError, match="is there already"):
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


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SUITE.SUITE))
def test_every_family_is_saved_and_loaded_with_equal_outputs(name, tmp_path):
    model, inputs = SUITE.build(name)
    if getattr(model.config, "use_cache", None):
        model.config.use_cache = False
    before = logits(model, inputs)
    halve(model, (":neurons", ":kv_groups", ":heads", ":channels"), **inputs)
    after = logits(model, inputs)
    assert not torch.equal(before, after)
    nodelens_hf.save(model, tmp_path / "out")
    found = logits(nodelens_hf.load(tmp_path / "out"), inputs)
    if "pixel_values" in inputs:  # convolutions choose their kernel by where the weights lie
        torch.testing.assert_close(found, after, rtol=1e-5, atol=1e-6 * float(after.abs().max()))
    else:
        assert torch.equal(found, after)
