"""The configurations for pretrained models: every metric that they name applies to a Llama."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import nodelens
from nodelens.scoring.scores import Scores

FOLDER = Path(__file__).parents[2] / "configs/pretrained"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_pass", "every_metric"])
def test_every_metric_scores_some_nodes(tmp_path, tokenizer_folder, name):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=300, max_position_embeddings=64,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    text = tmp_path / "a.txt"
    text.write_text("the quick brown fox jumps over the lazy dog, again and again. " * 60)
    run = nodelens.run(
        FOLDER / f"{name}.yaml",
        f"model.pretrained={tmp_path / 'model'}",
        f"data.tokenizer={tokenizer_folder}",
        f"data.files=[{text}]",
        "data.window=16",
        "capture.samples=8",
        "reports=[json]",
        f"output={tmp_path / 'outputs'}",
    )
    scores = Scores.load(run.path / "scores.safetensors")
    assert not scores.failed
    patterns = run.record().patterns
    left_out = {} if patterns is None else patterns.left_out
    skipped = {metric for metric, _ in scores.skipped} - left_out.keys()
    assert skipped <= {*scores.metrics, *scores.layer_metrics}
    assert "supernode_mass" in scores.layer_metrics
    if name == "every_metric":
        of_classes, of_maps = left_out["fisher_ratio"], left_out["hrank"]
        assert of_classes.startswith("compares classes of samples, and these data have a label per")
        assert of_maps.startswith("no group can be scored; model.embed_tokens:residual: what")
        assert left_out["composite"].startswith("the key 'parts' is missing")
        assert {"conductance", "internal_influence", "weight_l1"} <= {*scores.metrics}
