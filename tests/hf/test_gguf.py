"""GGUF files: weights and tokenizer as they were written, pruned and saved, and what goes wrong."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import nodelens
import nodelens_hf
from nodelens.channels.infer import infer
from nodelens.errors import DataError, ModelError, NodelensError
from nodelens.interfaces.backend import ModelRequest
from nodelens.removal.removal import remove
from nodelens_hf.backend import HuggingFace
from nodelens_hf.hints import HINTS
from nodelens_hf.tokenizers import load_tokenizer

pytest.importorskip("gguf")
pytest.importorskip("accelerate")
from tests.hf.gguf_files import write_gguf

REQUEST = ModelRequest(input_shape=(6,), classes=0, seed=0)
NAME = "small.gguf"
X = torch.randint(4, 300, (2, 9), generator=torch.Generator().manual_seed(0))


def llama(tied=True):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=300, max_position_embeddings=64, tie_word_embeddings=tied,
        rms_norm_eps=1e-5,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture
def folder(tmp_path, tokenizer_folder):
    write_gguf(tmp_path / NAME, llama(), tokenizer_folder / "tokenizer.json")
    return tmp_path


def loaded(folder, **options):
    return HuggingFace(pretrained=str(folder), gguf_file=NAME, **options).build(REQUEST)


@torch.no_grad()
def logits(model):
    return model(X).logits


@pytest.mark.parametrize("tied", [True, False])
def test_the_weights_are_those_that_were_written(tmp_path, tokenizer_folder, tied):
    made = llama(tied)
    write_gguf(tmp_path / NAME, made, tokenizer_folder / "tokenizer.json")
    handle = loaded(tmp_path)
    assert handle.pretrained
    assert not vars(handle.module).keys() & {"hf_quantizer", "is_quantized", "quantization_method"}
    assert "quantization_config" not in handle.module.config.to_dict()
    assert handle.vocabulary == 300
    found = handle.module.state_dict()
    assert found.keys() == made.state_dict().keys()
    for name, tensor in made.state_dict().items():
        assert torch.equal(found[name], tensor), name
    torch.testing.assert_close(logits(handle.module), logits(made), rtol=0, atol=1e-6)
    same = handle.module.get_input_embeddings().weight is handle.module.lm_head.weight
    assert same is tied


@pytest.mark.parametrize(("kind", "error"), [("Q8_0", 0.01), ("Q4_1", 0.1)])
def test_quantized_weights_are_read_as_numbers(tmp_path, tokenizer_folder, kind, error):
    from gguf import GGMLQuantizationType

    made = llama()
    file = tokenizer_folder / "tokenizer.json"
    write_gguf(tmp_path / NAME, made, file, GGMLQuantizationType[kind])
    found = loaded(tmp_path).module.state_dict()
    for name, tensor in made.state_dict().items():
        assert found[name].dtype == torch.float32
        assert (found[name] - tensor).norm() <= error * tensor.norm()
        assert "norm" in name or not torch.equal(found[name], tensor)


def test_the_tokenizer_is_the_one_that_was_written(folder, tokenizer_folder):
    text = "the quick brown fox, naps <s> über"
    found, made = load_tokenizer(str(folder), NAME), load_tokenizer(str(tokenizer_folder))
    assert found.encode([text]) == made.encode([text])
    assert (found.begin, found.end, found.pad) == (made.begin, made.end, made.pad) == (1, 2, 0)


def test_a_pruned_model_of_a_file_is_an_ordinary_folder(folder):
    handle = loaded(folder)
    model = handle.module
    graph = infer(model, input_ids=X)
    keep = {each.name: range(0, 96, 2) for each in graph if each.name.endswith("mlp:neurons")}
    remove(model, graph, keep, hints=HINTS, input_ids=X)
    call = handle.save(model, folder / "out", {})
    assert call == "transformers.AutoModelForCausalLM.from_pretrained(folder)"
    plain = AutoModelForCausalLM.from_pretrained(folder / "out").eval()
    assert torch.equal(logits(plain), logits(model))
    assert torch.equal(logits(nodelens_hf.load(folder / "out")), logits(model))
    tokenizer = AutoTokenizer.from_pretrained(folder / "out")
    expected = load_tokenizer(str(folder), NAME).encode(["the fox naps"])
    assert tokenizer(["the fox naps"], add_special_tokens=False)["input_ids"] == expected


def test_a_run_reads_model_and_tokenizer_from_one_file(folder):
    (folder / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    run = nodelens.run(
        {
            "name": "gguf",
            "model": {"name": "hf", "pretrained": str(folder), "gguf_file": NAME},
            "data": {
                "name": "text",
                "files": [str(folder / "a.txt")],
                "tokenizer": str(folder),
                "gguf_file": NAME,
                "window": 16,
                "batch_size": 4,
            },
            "capture": {"samples": 8, "folds": 2},
            "metrics": ["loss_proxy", "supernode_mass"],
            "reports": [],
            "output": str(folder / "outputs"),
        }
    )
    assert run.status() == "finished"


@pytest.mark.parametrize("damage", ["truncated", "empty", "other"])
def test_a_damaged_file_is_named(folder, damage):
    file = folder / NAME
    whole = file.read_bytes()
    file.write_bytes({"truncated": whole[:-5000], "empty": b"", "other": b"text" * 999}[damage])
    with pytest.raises(ModelError, match=rf"{NAME}: damaged, or of a kind of GGUF"):
        loaded(folder)


@pytest.mark.parametrize("seed", range(12))
def test_bits_that_flipped_in_the_header_are_no_traceback(folder, seed):
    file, draw = folder / NAME, random.Random(seed)
    data = bytearray(file.read_bytes())
    for _ in range(3):
        data[draw.randrange(400)] ^= 1 << draw.randrange(8)
    file.write_bytes(data)
    for load in (lambda: loaded(folder), lambda: load_tokenizer(str(folder), NAME)):
        try:
            load()
        except NodelensError as error:
            assert str(folder) in str(error)


def test_a_damaged_tokenizer_is_named(folder):
    (folder / NAME).write_bytes(b"text" * 999)
    with pytest.raises(DataError, match=f"no tokenizer at {folder}"):
        load_tokenizer(str(folder), NAME)


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(folder, monkeypatch, package):
    from nodelens_hf import pretrained

    found = pretrained.find_spec
    monkeypatch.setattr(pretrained, "find_spec", lambda n: None if n == package else found(n))
    with pytest.raises(ModelError, match=rf"needs {package}.*pip install nodelens-hf\[gguf\]"):
        loaded(folder)


def test_an_architecture_that_is_not_read_is_named(folder, tokenizer_folder, monkeypatch):
    import gguf

    real = gguf.GGUFWriter
    monkeypatch.setattr(gguf, "GGUFWriter", lambda path, _: real(path, "strange"))
    write_gguf(folder / NAME, llama(), tokenizer_folder / "tokenizer.json")
    with pytest.raises(ModelError, match="architecture strange is not supported"):
        loaded(folder)
