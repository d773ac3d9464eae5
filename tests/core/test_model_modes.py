import pytest
import torch
from torch import nn

from nodelens.model_state import evaluating, training


def network():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    model[1][0].eval()
    return model


def modes(model):
    return [module.training for module in model.modules()]


@pytest.mark.parametrize(("context", "mode"), [(evaluating, False), (training, True)])
@pytest.mark.parametrize("grad", [True, False])
def test_modes_are_set_inside_and_restored_outside(context, mode, grad):
    model = network()
    before = modes(model)
    with torch.set_grad_enabled(grad):
        with context(model):
            assert modes(model) == [mode] * 5
            assert torch.is_grad_enabled() is mode
        assert torch.is_grad_enabled() is grad
    assert modes(model) == before == [True, True, True, False, True]


@pytest.mark.parametrize("context", [evaluating, training])
def test_modes_are_restored_when_the_body_raises(context):
    model = network()
    with pytest.raises(KeyError), context(model):
        raise KeyError
    assert modes(model) == [True, True, True, False, True]
    assert torch.is_grad_enabled()
