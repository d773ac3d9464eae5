import pytest
import torch

from nodelens.channels.groups import ChannelGroup, Extent, ParameterSlice
from nodelens.errors import NotApplicableError
from nodelens.scoring.view import GroupView
from nodelens_metrics.norms import OutgoingL2, WeightL1, WeightL2

WIDTH = Extent(2)


def view(*slices, **parameters):
    group = ChannelGroup(name="g", kind="channels", width=2, slices=slices)
    named = {name: torch.tensor(value) for name, value in parameters.items()}
    return GroupView(group, {}, named, torch.ones(1, dtype=torch.bool))


def test_norms_of_a_linear_layer():
    layer = view(
        ParameterSlice("w", 0, "producer", WIDTH),
        ParameterSlice("v", 1, "consumer", WIDTH),
        w=[[3.0, -4.0], [0.0, 1.0]],
        v=[[1.0, 0.0], [2.0, 3.0], [2.0, -4.0]],
    )
    assert WeightL1().score(layer).tolist() == [7.0, 1.0]
    assert WeightL2().score(layer).tolist() == [5.0, 1.0]
    assert OutgoingL2().score(layer).tolist() == [3.0, 5.0]


def test_a_convolution_counts_its_whole_kernel():
    kernel = torch.ones(2, 3, 2, 2)
    kernel[1] *= -2
    layer = view(ParameterSlice("w", 0, "producer", WIDTH), w=kernel.tolist())
    assert WeightL1().score(layer).tolist() == [12.0, 24.0]


def test_two_producers_count_as_one_long_row():
    slices = (ParameterSlice(name, 0, "producer", WIDTH) for name in ("gate", "up"))
    layer = view(*slices, gate=[[3.0], [1.0]], up=[[-4.0], [0.0]])
    assert WeightL2().score(layer).tolist() == [5.0, 1.0]


def test_weights_in_half_precision_are_summed_in_float64():
    layer = view(ParameterSlice("w", 0, "producer", WIDTH), w=[[300.0, 400.0], [1.0, 0.0]])
    layer.parameters["w"] = layer.parameters["w"].half()
    assert WeightL2().score(layer).tolist() == [500.0, 1.0]


def test_without_producer_there_is_a_reason():
    with pytest.raises(NotApplicableError, match="no parameter writes these nodes"):
        WeightL1().score(view())
