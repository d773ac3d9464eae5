"""Models whose Python code comes with their weights."""

from __future__ import annotations

import json
import sys

import pytest

import nodelens
from nodelens.cli.main import main
from nodelens.errors import ModelError
from nodelens.interfaces.backend import ModelRequest, Permissions
from nodelens_hf.backend import HuggingFace

CONFIGURATION = """
from transformers import PretrainedConfig


class TinyConfig(PretrainedConfig):
    model_type = "tiny-own"

    def __init__(self, hidden_size=8, inner=12, vocab_size=259, **kwargs):
        self.hidden_size, self.inner, self.vocab_size = hidden_size, inner, vocab_size
        super().__init__(**kwargs)
"""
MODELING = """
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .configuration_tiny import TinyConfig


class TinyForCausalLM(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.up = nn.Linear(config.hidden_size, config.inner)
        self.down = nn.Linear(config.inner, config.vocab_size)
        self.post_init()

    def forward(self, input_ids, **kwargs):
        return CausalLMOutput(logits=self.down(torch.relu(self.up(self.embed(input_ids)))))
"""
ABOUT = {
    "model_type": "tiny-own",
    "architectures": ["TinyForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_tiny.TinyConfig",
        "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM",
    },
}
REQUEST = ModelRequest((6,), classes=0, seed=0)
TRUSTING = ModelRequest((6,), classes=0, seed=0, trust_remote_code=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a model that brings its code; what is imported of it lies in the test's folder."""
    from safetensors.torch import save_file
    from torch import randn
    from transformers import dynamic_module_utils

    cache = tmp_path / "modules"
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(cache))
    monkeypatch.syspath_prepend(str(cache))
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        monkeypatch.delitem(sys.modules, name)
    path = tmp_path / "own"
    path.mkdir()
    (path / "configuration_tiny.py").write_text(CONFIGURATION)
    (path / "modeling_tiny.py").write_text(MODELING)
    (path / "config.json").write_text(json.dumps(ABOUT))
    shapes = {
        "embed.weight": (259, 8), "up.weight": (12, 8), "up.bias": (12,),
        "down.weight": (259, 12), "down.bias": (259,),
    }  # fmt: skip
    tensors = {name: randn(*shape) for name, shape in shapes.items()}
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return path


def settings(folder):
    (folder / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return {
        "name": "own",
        "model": {"name": "hf", "pretrained": str(folder)},
        "data": {
            "name": "text", "files": [str(folder / "a.txt")], "tokenizer": "bytes",
            "window": 16, "batch_size": 8,
        },
        "capture": {"samples": 16, "folds": 2},
        "metrics": ["activation_rms"],
        "reports": ["json"],
        "output": str(folder.parent / "outputs"),
    }  # fmt: skip


def test_code_of_a_model_is_not_run_unasked(folder):
    (folder / "modeling_tiny.py").write_text("raise SystemExit('the code was run')")
    with pytest.raises(ModelError, match="which is not run; read the code, and pass --trust-rem"):
        HuggingFace(pretrained=str(folder)).build(REQUEST)


def test_code_of_a_model_is_run_when_asked_for(folder):
    handle = HuggingFace(pretrained=str(folder)).build(TRUSTING)
    assert type(handle.module).__name__ == "TinyForCausalLM"
    assert "modeling_tiny.py sha256:" in handle.notes["remote_code"]
    assert handle.save is None


def test_mistakes_in_the_code_of_a_model_are_said_in_a_line(folder):
    (folder / "modeling_tiny.py").write_text(MODELING.replace("config.inner", "config.nothing"))
    with pytest.raises(ModelError, match="has no attribute 'nothing'"):
        HuggingFace(pretrained=str(folder)).build(TRUSTING)


def test_a_run_records_what_it_was_allowed_and_which_code_it_ran(folder):
    prune = {"name": "magnitude", "sparsity": 0.5}
    run = nodelens.run(settings(folder) | {"pruning": [prune]}, trust_remote_code=True)
    record = run.record()
    assert record.allowed == Permissions((), True)
    assert "configuration_tiny.py sha256:" in record.model.notes["remote_code"]
    assert not run.has("pruned/magnitude/model")


@pytest.mark.parametrize("command", ["run", "plan", "inspect"])
def test_only_the_command_line_can_allow_it(folder, command, capsys):
    file = folder.parent / "config.yaml"
    file.write_text(json.dumps(settings(folder)))
    assert main([command, str(file), "model.trust_remote_code=true"]) == 2
    assert "trust_remote_code: unknown key" in capsys.readouterr().err
    assert main(["-q", command, str(file)]) == 2
    assert "pass --trust-remote-code" in capsys.readouterr().err
    assert main(["-q", command, str(file), "--trust-remote-code"]) == 0


def test_a_model_of_transformers_needs_no_permission(folder, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2}
    config = AutoConfig.for_model("llama", num_hidden_layers=1, vocab_size=50, **options)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "plain")
    handle = HuggingFace(pretrained=str(tmp_path / "plain")).build(TRUSTING)
    assert "remote_code" not in handle.notes
