import re
import sys

import pytest
import torch
from torch import nn

from nodelens.errors import ModelError
from nodelens.interfaces.backend import ModelRequest
from nodelens.models.imported import Imported
from nodelens.storage.tensors import write_state

SOURCE = """
from torch import nn
from collections import OrderedDict


def linear(classes=3, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(width, classes))


def dropout():
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))


def broken():
    raise RuntimeError("no such file")


def number():
    return 3


class Pair(nn.Module):
    def forward(self, inputs):
        return {"features": inputs}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own that can be imported as own_models.nets."""
    package = tmp_path / "own_models"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(SOURCE)
    (package / "raises.py").write_text("raise ValueError('bad module')")
    (package / "needs.py").write_text("import a_package_that_nobody_has")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_models")]:
        del sys.modules[name]


def build(path, allow=("own_models",), shape=(4,), seed=0, **options):
    request = ModelRequest(shape, classes=3, seed=seed, allow_import=allow)
    return Imported(path=path, **options).build(request)


def test_the_function_gives_the_model(own):
    handle = build("own_models.nets:linear", arguments={"classes": 5})
    assert handle.module(torch.zeros(2, 4)).shape == (2, 5)
    assert handle.origin.startswith("own_models.nets:linear")
    assert not handle.pretrained


def test_weights_are_seeded_and_the_global_state_is_left_alone(own):
    state = torch.get_rng_state()
    one, same, other = (build("own_models.nets:linear", seed=seed).module for seed in (0, 0, 1))
    assert torch.equal(one[1].weight, same[1].weight)
    assert not torch.equal(one[1].weight, other[1].weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_trial_changes_neither_modes_nor_statistics(own):
    module = build("own_models.nets:dropout").module
    assert all(part.training for part in module.modules())
    assert int(module[2].num_batches_tracked) == 0


@pytest.mark.parametrize("allow", [("own_models",), ("x", "own_models.nets"), ("own_models.",)])
def test_prefixes_that_allow(own, allow):
    assert isinstance(build("own_models.nets:linear", allow).module, nn.Module)


@pytest.mark.parametrize("allow", [(), ("own",), ("own_models.net",), ("nets",)])
def test_nothing_is_imported_without_permission(own, allow):
    expected = "pass --allow-import own_models.nets if you trust it"
    with pytest.raises(ModelError, match=re.escape(expected)):
        build("own_models.nets:linear", allow)
    assert "own_models" not in sys.modules


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("own_models.nothing:f", {}, "no module 'own_models.nothing' to import; .*PYTHONPATH"),
        ("own_models.raises:f", {}, "importing 'own_models.raises' raised ValueError: bad module"),
        ("own_models.needs:f", {}, "No module named 'a_package_that_nobody_has'; install it"),
        ("own_models.nets:liner", {}, "no function 'liner'; did you mean 'linear'?"),
        (
            "own_models.nets:linear",
            {"arguments": {"clases": 3}},
            r"do not fit own_models.nets:linear\(classes=3, width=4\): .*'clases'; given: clases",
        ),
        ("own_models.nets:broken", {}, "own_models.nets:broken raised RuntimeError: no such file"),
        ("own_models.nets:number", {}, "returned int, expected a torch.nn.Module"),
        ("own_models.nets:Pair", {}, "returned dict without logits"),
        (
            "own_models.nets:linear",
            {"arguments": {"width": 9}},
            r"does not run on samples of shape \(4,\): RuntimeError",
        ),
        (
            "own_models.nets:linear",
            {"arguments": {"classes": 2}},
            r"logits of shape \(2, 2\), expected \(2, 3\), one per class",
        ),
    ],
)
def test_everything_that_goes_wrong_is_a_model_error(own, path, options, message):
    with pytest.raises(ModelError, match=message):
        build(path, **options)


@pytest.mark.parametrize("path", ["own_models.nets", "linear", "own_models/nets.py:linear", ":f"])
def test_paths_that_are_not_module_and_function(path):
    with pytest.raises(ValueError, match="path"):
        Imported(path=path)


def test_weights_come_from_a_file(own):
    file = own / "weights.safetensors"
    state = {"1.weight": torch.ones(3, 4), "1.bias": torch.zeros(3)}
    write_state(file, state, {})
    handle = build("own_models.nets:linear", weights=str(file))
    assert torch.equal(handle.module(torch.ones(1, 4)), torch.full((1, 3), 4.0))
    assert handle.pretrained


def test_pretrained_is_what_the_config_says(own):
    assert build("own_models.nets:linear", pretrained=True).pretrained


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"1.weight": torch.ones(3, 4)}, "does not fit the model: missing in the file: 1.bias"),
        (
            {"1.weight": torch.ones(3, 5), "1.bias": torch.ones(3), "2": torch.ones(1)},
            r"not in the model: 2; 1.weight has the shape \(3, 5\), the model's is \(3, 4\)",
        ),
        (
            {name: torch.ones(1) for name in "abcde"},
            "missing in the file: 1.weight, 1.bias; not in the model: a, b, c and 2 more",
        ),
    ],
)
def test_weights_that_do_not_fit(own, state, message):
    write_state(own / "weights.safetensors", state, {})
    with pytest.raises(ModelError, match=message):
        build("own_models.nets:linear", weights=str(own / "weights.safetensors"))


def test_a_missing_file_of_weights(own):
    with pytest.raises(ModelError, match=r"model\.weights: cannot read nowhere"):
        build("own_models.nets:linear", weights="nowhere")
