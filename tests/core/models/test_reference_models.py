import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from nodelens.errors import ModelError
from nodelens.interfaces.backend import Backend, ModelRequest
from nodelens.models.cnn import CNN
from nodelens.models.mlp import MLP
from nodelens.models.resnet import ResNet

SMALL_RESNET = ResNet(blocks=(1, 2), width=4)
MODELS = [
    (MLP(), (64,)),
    (MLP(hidden=(), activation="tanh"), (1, 8, 8)),
    (MLP(hidden=(5,), activation="gelu"), (3, 32, 32)),
    (CNN(), (1, 8, 8)),
    (CNN(channels=(4,), kernel_size=5, batch_norm=False, activation="silu"), (3, 32, 32)),
    (CNN(channels=(4, 6, 8), pooling="none", readout="average"), (2, 5, 7)),
    (CNN(channels=(4,), pooling="average"), (1, 9, 8)),
    (SMALL_RESNET, (1, 8, 8)),
    (SMALL_RESNET, (3, 33, 31)),
    (ResNet(blocks=(1,), width=4, stem="large"), (3, 64, 64)),
]
each_model = pytest.mark.parametrize(("backend", "shape"), MODELS)


def build(backend, shape, seed=0):
    return backend.build(ModelRequest(input_shape=shape, classes=7, seed=seed))


@each_model
def test_models_turn_samples_into_one_logit_per_class(backend, shape):
    assert isinstance(backend, Backend)
    handle = build(backend, shape)
    assert handle.module(torch.rand(3, *shape)).shape == (3, 7)
    assert not handle.pretrained


@each_model
def test_seeds_decide_the_weights_bit_for_bit(backend, shape):
    torch.manual_seed(1)
    one = build(backend, shape).module.state_dict()
    torch.manual_seed(2)
    same, other = (build(backend, shape, seed).module.state_dict() for seed in (0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


@each_model
def test_building_leaves_global_random_states_alone(backend, shape):
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    build(backend, shape)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


@pytest.mark.parametrize(
    ("backend", "names"),
    [
        (MLP(), ["hidden.0.linear", "hidden.1.activation", "head"]),
        (CNN(), ["features.0.conv", "features.1.norm", "features.1.pool", "head"]),
        (SMALL_RESNET, ["stem.conv", "stages.1.0.conv2", "stages.1.0.shortcut.conv", "head"]),
    ],
)
def test_modules_have_names_that_people_can_read(backend, names):
    modules = dict(build(backend, (1, 8, 8)).module.named_modules())
    assert [name for name in names if name not in modules] == []


@pytest.mark.parametrize(
    ("base", "other"),
    [
        (MLP(), MLP(hidden=(128, 65))),
        (MLP(), MLP(activation="silu")),
        (CNN(), CNN(channels=(16, 33))),
        (CNN(), CNN(kernel_size=5)),
        (CNN(), CNN(batch_norm=False)),
        (CNN(), CNN(activation="tanh")),
        (CNN(), CNN(pooling="average")),
        (CNN(), CNN(readout="average")),
        (SMALL_RESNET, ResNet(blocks=(1, 1), width=4)),
        (SMALL_RESNET, ResNet(blocks=(1, 2), width=5)),
        (SMALL_RESNET, ResNet(blocks=(1, 2), width=4, stem="large")),
    ],
)
def test_every_option_changes_the_result(base, other):
    inputs = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = [build(one, (1, 8, 8)).module.eval()(inputs) for one in (base, other)]
    assert not torch.equal(*outputs)


@pytest.mark.parametrize(
    ("backend", "shape", "message"),
    [
        (CNN(), (64,), r"cnn needs images .*, samples have the shape \(64,\); choose model mlp"),
        (ResNet(), (28, 28), r"resnet needs images .*channels: none"),
        (CNN(channels=(4,) * 5), (1, 8, 9), "8x9 are too small to be halved 5 times; .* most 3 ch"),
    ],
)
def test_samples_that_do_not_fit_are_explained(backend, shape, message):
    with pytest.raises(ModelError, match=message):
        build(backend, shape)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: CNN(kernel_size=4), "'kernel_size' must be odd"),
        (lambda: CNN(channels=()), "channels"),
        (lambda: CNN(channels=(0,)), "channels"),
        (lambda: MLP(hidden=(8, -1)), "hidden"),
        (lambda: ResNet(width=0), "width"),
        (lambda: ResNet(blocks=(2, 0)), "blocks"),
    ],
)
def test_impossible_options_are_refused(make, name):
    with pytest.raises(ValueError, match=name):
        make()


def test_resnet_of_the_default_size_is_resnet_18():
    module = ResNet(stem="large").build(ModelRequest((3, 64, 64), 1000, 0)).module
    assert sum(one.numel() for one in module.parameters()) == 11_689_512
    convolutions = [one for one in module.modules() if isinstance(one, nn.Conv2d)]
    assert len(convolutions) == 17 + 3


def test_stages_halve_the_map_and_double_the_channels():
    module = build(ResNet(blocks=(1, 1, 1), width=4), (1, 8, 8)).module
    maps, shapes = module.stem(torch.rand(2, 1, 8, 8)), []
    for stage in module.stages:
        maps = stage(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(4, 8, 8), (8, 4, 4), (16, 2, 2)]


def test_a_block_adds_its_input_back():
    module = build(ResNet(blocks=(2,), width=4), (1, 8, 8)).module.eval()
    block = module.stages[0][1]
    nn.init.zeros_(block.norm2.weight)
    inputs = torch.rand(2, 4, 8, 8)
    assert torch.equal(block(inputs), inputs)


def test_option_classes_import_without_torch():
    program = (
        "import sys, nodelens.models.mlp, nodelens.models.cnn, nodelens.models.resnet,"
        "nodelens.models.imported, nodelens.data.digits, nodelens.data.arrays, nodelens.data.idx,"
        "nodelens.data.image_folder;"
        "print([m for m in ('torch', 'numpy', 'sklearn', 'PIL') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
