"""Whole runs on small language models, from text to a pruned model that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

import nodelens
import nodelens_hf

WORDS = "the quick brown fox jumps over the lazy dog, again and again. "
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 64,
}
KEPT = ["*:residual", "*:value_dim"]


PRETRAINED = Path(__file__).parents[2] / "configs/pretrained/language_model.yaml"


def settings(tmp_path, **changes):
    (tmp_path / "a.txt").write_text("\n\n".join(WORDS * n for n in range(1, 9)))
    return {
        "name": "lm",
        "model": {"name": "hf", "config": LLAMA},
        "data": {
            "name": "text",
            "files": [str(tmp_path / "a.txt")],
            "tokenizer": "bytes",
            "window": 32,
            "batch_size": 16,
        },
        "capture": {"samples": 16, "folds": 4},
        "metrics": ["activation_rms", "weight_l2", "supernode_mass"],
        "reports": ["json"],
        "output": str(tmp_path / "outputs"),
        **changes,
    }


def finding(run, name):
    return json.loads((run.path / f"findings/{name}.json").read_text())


def test_a_run_trains_scores_ablates_prunes_and_saves(tmp_path):
    perplexity = {"name": "perplexity", "files": [str(tmp_path / "a.txt")], "tokenizer": "bytes"}
    run = nodelens.run(
        settings(
            tmp_path,
            training={"epochs": 1},
            analyses=["layers"],
            evaluations=[{**perplexity, "window": 32, "stride": 16}],
            interventions=[{"name": "ablation", "fractions": [0.5]}],
            pruning=[{"name": "magnitude", "sparsity": 0.5, "protect": KEPT}],
        )
    )
    evaluated = finding(run, "evaluation.test")["data"]
    pruned = finding(run, "pruning.magnitude")
    assert pruned["data"]["perplexity"][0] == pytest.approx(evaluated["perplexity"])
    assert "perplexity" in [row[0] for row in pruned["tables"][0]["rows"]]
    assert finding(run, "evaluation.perplexity")["data"]["stride"] == 16
    profiles = finding(run, "analysis.layers")["data"]["profiles"]
    assert profiles[0]["layers"] == [0, 1]
    folder = run.path / pruned["data"]["model"]["folder"]
    assert pruned["data"]["model"]["load"] == (
        "transformers.AutoModelForCausalLM.from_pretrained(folder)"
    )
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert (loaded.config.intermediate_size, loaded.config.num_key_value_heads) == (12, 1)
    assert loaded.config.use_cache
    assert sum(p.numel() for p in loaded.parameters()) == pruned["data"]["parameters"][1]
    card = (folder / "README.md").read_text()
    assert "pruned by magnitude" in card
    assert "sparsity: 0.5" in card
    assert "| perplexity |" in card
    stages = json.loads((run.path / "run.json").read_text())["stages"]
    assert "pruned/magnitude/model/model.safetensors" in stages["pruning.magnitude"]["files"]


def test_the_saved_model_gives_the_perplexity_that_was_measured(tmp_path, tokenizer_folder):
    folder = tmp_path / "dense"
    torch.manual_seed(0)
    options = {name: value for name, value in LLAMA.items() if name != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **options))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    config = settings(
        tmp_path,
        model={"name": "hf", "pretrained": str(folder)},
        pruning=[{"name": "magnitude", "sparsity": 0.5, "protect": [*KEPT, "*.1.mlp:neurons"]}],
    )
    config["data"] |= {"tokenizer": str(folder), "test_files": config["data"]["files"]}
    run = nodelens.run(config, "data.window=16", "capture.samples=8", "data.validation_fraction=0")
    found = finding(run, "pruning.magnitude")["data"]
    saved = run.path / found["model"]["folder"]
    assert found["model"]["load"] == "nodelens_hf.load(folder)"
    loaded = nodelens_hf.load(saved)
    again = nodelens_hf.perplexity(
        loaded, config["data"]["files"][0], tokenizer=str(saved), window=16
    )
    assert again.perplexity.value == pytest.approx(found["perplexity"][1], rel=1e-6)


def test_a_killed_pruning_stage_is_done_again(tmp_path, monkeypatch):
    config = settings(tmp_path, pruning=[{"name": "magnitude", "sparsity": 0.5, "protect": KEPT}])

    def dies(config, folder, **_):
        (Path(folder).parent / "model").mkdir()
        (Path(folder).parent / ".model-left").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(PretrainedConfig, "save_pretrained", dies)
        nodelens.run(config)
    (folder,) = (tmp_path / "outputs/lm").iterdir()
    run = nodelens.run(resume=folder)
    assert run.status() == "finished"
    assert sorted(path.name for path in (folder / "pruned/magnitude").iterdir()) == [
        "model",
        "plan.json",
        "weights.safetensors",
    ]


def test_a_finished_evaluation_is_not_done_again(tmp_path, monkeypatch):
    perplexity = {"name": "perplexity", "files": [str(tmp_path / "a.txt")], "tokenizer": "bytes"}
    config = settings(tmp_path, evaluations=[{**perplexity, "window": 32}])

    def ends(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("nodelens.experiments.capturing.capture_statistics", ends)
        nodelens.run(config)
    (folder,) = (tmp_path / "outputs/lm").iterdir()
    file = folder / "findings/evaluation.perplexity.json"
    before = file.stat().st_mtime_ns
    assert nodelens.run(resume=folder).status() == "finished"
    assert file.stat().st_mtime_ns == before


def test_tokens_outside_the_vocabulary_are_refused(tmp_path):
    config = settings(tmp_path)
    config["model"]["config"] = {**LLAMA, "vocab_size": 100}
    with pytest.raises(nodelens.errors.DataError, match="use the tokenizer that belongs"):
        nodelens.run(config)


def test_documents_as_padded_rows(tmp_path):
    config = settings(tmp_path, pruning=[{"name": "magnitude", "sparsity": 0.5, "protect": KEPT}])
    config["data"] |= {"layout": "padded", "window": 48, "batch_size": 2, "test_fraction": 0.25}
    config["capture"] = {"samples": 4, "folds": 2}
    run = nodelens.run(config, "data.validation_fraction=0")
    assert finding(run, "pruning.magnitude")["data"]["carried_out"] == "removal"


def test_the_config_for_pretrained_models_takes_a_folder(tmp_path, tokenizer_folder):
    options = {name: value for name, value in LLAMA.items() if name != "model_type"}
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **options)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    file = settings(tmp_path)["data"]["files"][0]
    run = nodelens.run(
        PRETRAINED,
        f"model.pretrained={tmp_path / 'model'}",
        f"data.tokenizer={tokenizer_folder}",
        f"data.files=[{file}]",
        "data.window=16",
        "capture.samples=8",
        f"output={tmp_path / 'outputs'}",
    )
    (profile, *_) = [
        each
        for each in finding(run, "analysis.layers")["data"]["profiles"]
        if each["groups"].endswith("mlp:neurons")
    ]
    assert (profile["metric"], profile["layers"]) == ("supernode_mass", [0, 1])
    assert any("supernode_mass" in path.name for path in (run.path / "figures").iterdir())


def test_a_window_longer_than_the_model_is_refused_in_words(tmp_path):
    config = settings(tmp_path)
    config["model"]["config"] = {
        "model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 300,
        "n_positions": 16,
    }  # fmt: skip
    expected = r"data\.window: rows of 32 tokens are longer than the 16 positions of .*or less"
    with pytest.raises(nodelens.errors.DataError, match=expected):
        nodelens.run(config)
