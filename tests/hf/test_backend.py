from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.interfaces.backend import ModelRequest
from nodelens_hf import hub
from nodelens_hf.backend import HuggingFace

REQUEST = ModelRequest(input_shape=(1, 8, 8), classes=10, seed=3)
RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 12],
    "depths": [1, 1],
    "layer_type": "basic",
}
VIT = {
    "model_type": "vit",
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "patch_size": 4,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
}
TEXT = ModelRequest(input_shape=(6,), classes=0, seed=3)
X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def image(**options):
    return HuggingFace(task="image_classification", **options)


@pytest.mark.parametrize("config", [RESNET, VIT], ids=["resnet", "vit"])
def test_a_config_makes_a_model_that_fits_the_data(config):
    model = image(config=config).build(REQUEST).module
    assert model(X).logits.shape == (4, 10)


def test_one_seed_gives_one_model_and_leaves_the_global_seed_alone():
    state = torch.random.get_rng_state()
    one, other = (image(config=RESNET).build(REQUEST).module for _ in range(2))
    assert torch.equal(one(X).logits, other(X).logits)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_saved_folder_gives_the_same_outputs(tmp_path):
    model = image(config=RESNET).build(REQUEST).module
    model.save_pretrained(tmp_path)
    handle = image(pretrained=str(tmp_path)).build(REQUEST)
    assert handle.pretrained
    assert torch.equal(handle.module(X).logits, model(X).logits)


def test_channel_inference_finds_the_neurons_of_a_vit():
    model = image(config=VIT).build(REQUEST).module
    assert 20 in [group.width for group in infer(model, X) if group.prunable]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs either pretrained .* or config"),
        ({"pretrained": "a", "config": {}}, "needs either pretrained .* or config"),
        ({"pretrained": "./nowhere"}, "./nowhere: there is no such folder"),
        (
            {"config": {"model_type": "resnt"}},
            "config.model_type is 'resnt'; did you mean 'resnet'",
        ),
        ({"config": {}}, "config.model_type is None; such as llama, bert or vit"),
        ({"config": {"model_type": "gpt2"}}, "gpt2 cannot be a image_classification model"),
    ],
)
def test_mistakes_are_explained(options, message):
    with pytest.raises(ModelError, match=message):
        image(**options).build(REQUEST)


def test_pickled_weights_are_refused(tmp_path):
    image(config=RESNET).build(REQUEST).module.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights can run any code"):
        image(pretrained=str(tmp_path)).build(REQUEST)


def test_pickled_weights_are_read_where_they_are_allowed(tmp_path):
    made = image(config=RESNET).build(REQUEST).module
    made.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(made.state_dict(), tmp_path / "pytorch_model.bin")
    handle = image(pretrained=str(tmp_path), allow_pickle=True).build(REQUEST)
    assert torch.equal(handle.module(X).logits, made(X).logits)
    assert handle.notes["weights"] == "pickled"


def test_a_pickled_file_that_holds_more_than_weights_is_never_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    image(config=RESNET).build(REQUEST).module.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"classifier.1.bias": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds more than weights, and that is never read"):
        image(pretrained=str(tmp_path), allow_pickle=True).build(REQUEST)
    assert not (tmp_path / "sprung").exists()


def test_a_head_that_a_folder_does_not_have_is_drawn_with_the_seed_and_told(tmp_path, caplog):
    HuggingFace(config=LLAMA).build(TEXT).module.save_pretrained(tmp_path)
    request = ModelRequest(input_shape=(6,), classes=5, seed=3)
    load = HuggingFace(task="token_classification", pretrained=str(tmp_path)).build
    one, other = load(request), load(request)
    assert one.module.num_labels == 5
    assert torch.equal(one.module.score.weight, other.module.score.weight)
    assert one.notes["new_weights"] == "score.bias, score.weight"
    assert "has no weights for score.bias, score.weight: they are random" in caplog.text
    base = HuggingFace(pretrained=str(tmp_path)).build(TEXT)
    assert "new_weights" not in base.notes


def test_a_head_for_fewer_classes_than_the_data_have_is_an_error(tmp_path):
    options = {"task": "sequence_classification", "config": {**LLAMA, "pad_token_id": 0}}
    for classes, expected in ((3, None), (4, "a head for fewer classes than the data have")):
        request = ModelRequest(input_shape=(6,), classes=classes, seed=3)
        if expected is None:
            HuggingFace(**options).build(request).module.save_pretrained(tmp_path)
            continue
        with pytest.raises(ModelError, match=expected):
            HuggingFace(task=options["task"], pretrained=str(tmp_path)).build(request)


def test_a_damaged_weight_file_is_named(tmp_path):
    image(config=RESNET).build(REQUEST).module.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match=str(tmp_path)):
        image(pretrained=str(tmp_path)).build(REQUEST)


def test_flat_samples_are_refused():
    request = ModelRequest(input_shape=(64,), classes=10, seed=0)
    with pytest.raises(ModelError, match="needs images"):
        image(config=RESNET).build(request)


@pytest.mark.parametrize(
    ("task", "width"),
    [("causal_lm", 50), ("sequence_classification", 3), ("token_classification", 3)],
)
def test_a_task_decides_the_head(task, width):
    request = ModelRequest(input_shape=(6,), classes=3, seed=0)
    config = {**LLAMA, "pad_token_id": 0}
    model = HuggingFace(task=task, config=config).build(request).module
    assert model(torch.arange(1, 13).view(2, 6)).logits.shape[-1] == width


def test_a_language_model_reads_whole_windows_and_says_how_many_tokens_it_knows():
    handle = HuggingFace(config=LLAMA).build(TEXT)
    assert handle.module.config.use_cache is False
    assert handle.vocabulary == 50
    assert handle.notes["task"] == "causal_lm"


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_precision_is_the_one_asked_for(dtype, tmp_path):
    made = HuggingFace(config=LLAMA, dtype=dtype).build(TEXT).module
    made.save_pretrained(tmp_path)
    for asked in (dtype, "auto"):
        loaded = HuggingFace(pretrained=str(tmp_path), dtype=asked).build(TEXT).module
        assert loaded.dtype == getattr(torch, dtype)


def test_a_sharded_checkpoint_is_read(tmp_path):
    made = HuggingFace(config=LLAMA).build(TEXT).module
    made.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = HuggingFace(pretrained=str(tmp_path)).build(TEXT).module
    x = torch.arange(12).view(2, 6)
    assert torch.equal(loaded(x).logits, made(x).logits)


def test_a_truncated_weight_file_is_named(tmp_path):
    HuggingFace(config=LLAMA).build(TEXT).module.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=str(tmp_path)):
        HuggingFace(pretrained=str(tmp_path)).build(TEXT)


def test_a_shard_that_is_cut_off_or_missing_is_named(tmp_path):
    HuggingFace(config=LLAMA).build(TEXT).module.save_pretrained(tmp_path, max_shard_size="4KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(ModelError, match=rf"{shard.name}: not a whole file .*; copy it again"):
        HuggingFace(pretrained=str(tmp_path)).build(TEXT)
    shard.unlink()
    with pytest.raises(ModelError, match=rf"names {shard.name}, which is not there; copy it again"):
        HuggingFace(pretrained=str(tmp_path)).build(TEXT)


def test_an_index_that_was_left_beside_a_whole_file_is_not_read(tmp_path):
    HuggingFace(config=LLAMA).build(TEXT).module.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    HuggingFace(pretrained=str(tmp_path)).build(TEXT)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": []}', "{}"])
def test_a_damaged_index_of_shards_is_named(tmp_path, text):
    HuggingFace(config=LLAMA).build(TEXT).module.save_pretrained(tmp_path, max_shard_size="4KB")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"index\.json: not the index of a sharded model"):
        HuggingFace(pretrained=str(tmp_path)).build(TEXT)


def test_weights_of_another_architecture_are_refused(tmp_path):
    bert = {"model_type": "bert", "vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2}
    bert |= {"num_hidden_layers": 1, "intermediate_size": 24}
    HuggingFace(task="masked_lm", config=bert).build(TEXT).module.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA))
    expected = r"no weights for 12 of the 12 parameters of LlamaForCausalLM and has bert\."
    with pytest.raises(ModelError, match=expected):
        HuggingFace(pretrained=str(tmp_path)).build(TEXT)


def test_without_a_network_the_cache_alone_is_asked(monkeypatch, caplog):
    from huggingface_hub import constants

    def nowhere(*_):
        raise socket.gaierror("no network")

    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.socket, "getaddrinfo", nowhere)
    caplog.set_level("INFO")
    seen = []
    with hub.hub_or_cache("some/model"):
        seen.append(constants.HF_HUB_OFFLINE)
    assert "some/model: there is no network; the hub's cache is read" in caplog.text
    monkeypatch.setattr(hub.socket, "getaddrinfo", lambda *_: [])
    with hub.hub_or_cache("some/model"):
        seen.append(constants.HF_HUB_OFFLINE)
    monkeypatch.setattr(hub.socket, "getaddrinfo", nowhere)
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy"})
    with hub.hub_or_cache("some/model"):
        seen.append(constants.HF_HUB_OFFLINE)
    assert seen == [True, False, False]
    assert constants.HF_HUB_OFFLINE is False


POSITIONS = {
    "gpt2": ({"n_positions": 20, "n_embd": 16, "n_head": 2, "n_layer": 1}, 20),
    "opt": ({"max_position_embeddings": 20, "word_embed_proj_dim": 16, "ffn_dim": 24}, 20),
    "llama": (LLAMA, None),
}


@pytest.mark.parametrize("kind", POSITIONS)
def test_a_table_of_positions_says_how_long_a_row_may_be(kind):
    fields, wanted = POSITIONS[kind]
    few = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
    few = {"vocab_size": 50} if kind == "gpt2" else few
    handle = HuggingFace(config={**few, **fields, "model_type": kind}).build(TEXT)
    assert handle.positions == wanted


@pytest.mark.parametrize(("kind", "wanted"), [("bert", 20), ("roberta", 18)])
def test_positions_may_begin_after_that_of_padding(kind, wanted):
    fields = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    fields |= {"vocab_size": 50, "intermediate_size": 24, "max_position_embeddings": 20}
    handle = HuggingFace(task="masked_lm", config={"model_type": kind, **fields}).build(TEXT)
    assert handle.positions == wanted
    model = handle.module
    model(torch.full((1, wanted), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, wanted + 1), 5))


def test_a_missing_gguf_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"no file model\.gguf there"):
        HuggingFace(pretrained=str(tmp_path), gguf_file="model.gguf").build(TEXT)


def test_a_wrong_field_of_a_configuration_is_explained():
    with pytest.raises(ModelError, match=r"the configuration of llama: .*hidden size \(15\)"):
        HuggingFace(config={**LLAMA, "hidden_size": 15}).build(TEXT)


def test_the_plugins_import_without_torch_or_transformers():
    code = (
        "import sys, nodelens_hf.backend, nodelens_hf.text; "
        "from nodelens.plugins.manager import load_plugins; load_plugins(); "
        "assert 'nodelens_hf.model_plugin' in sys.modules; "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
