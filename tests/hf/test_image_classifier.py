from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.models.contract import ModelRequest
from nodelens_hf.image_classifier import ImageClassifier

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
X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("config", [RESNET, VIT], ids=["resnet", "vit"])
def test_a_config_makes_a_model_that_fits_the_data(config):
    model = ImageClassifier(config=config).build(REQUEST).module
    assert model(X).logits.shape == (4, 10)


def test_one_seed_gives_one_model_and_leaves_the_global_seed_alone():
    state = torch.random.get_rng_state()
    one, other = (ImageClassifier(config=RESNET).build(REQUEST).module for _ in range(2))
    assert torch.equal(one(X).logits, other(X).logits)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_saved_folder_gives_the_same_outputs(tmp_path):
    model = ImageClassifier(config=RESNET).build(REQUEST).module
    model.save_pretrained(tmp_path)
    handle = ImageClassifier(folder=str(tmp_path)).build(REQUEST)
    assert handle.pretrained
    assert torch.equal(handle.module(X).logits, model(X).logits)


def test_channel_inference_finds_the_neurons_of_a_vit():
    model = ImageClassifier(config=VIT).build(REQUEST).module
    assert 20 in [group.width for group in infer(model, X) if group.prunable]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either folder or config"),
        ({"folder": "a", "config": {}}, "give either folder or config"),
        ({"folder": "nowhere"}, "nowhere: no config.json there; give a folder of save_pretrained"),
        (
            {"config": {"model_type": "resnt"}},
            "config.model_type is 'resnt'; did you mean 'resnet'",
        ),
        ({"config": {}}, "config.model_type is None; such as resnet or vit"),
        ({"config": {"model_type": "gpt2"}}, "gpt2 is not an image classifier"),
    ],
)
def test_mistakes_are_explained(options, message):
    with pytest.raises(ModelError, match=message):
        ImageClassifier(**options).build(REQUEST)


def test_pickled_weights_are_refused(tmp_path):
    ImageClassifier(config=RESNET).build(REQUEST).module.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not read"):
        ImageClassifier(folder=str(tmp_path)).build(REQUEST)


def test_a_damaged_weight_file_is_named(tmp_path):
    ImageClassifier(config=RESNET).build(REQUEST).module.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match=str(tmp_path)):
        ImageClassifier(folder=str(tmp_path)).build(REQUEST)


def test_flat_samples_are_refused():
    request = ModelRequest(input_shape=(64,), classes=10, seed=0)
    with pytest.raises(ModelError, match="needs images"):
        ImageClassifier(config=RESNET).build(request)


def test_the_plugin_imports_without_torch_or_transformers():
    code = (
        "import sys, nodelens_hf.plugin as p, nodelens_hf.image_classifier; "
        "p.nodelens_register_backends(); print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
