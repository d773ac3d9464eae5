import pytest
import torch

from nodelens.channels.groups import ChannelGroup, Extent, ParameterSlice
from nodelens.errors import NotApplicableError
from nodelens.scoring.view import GroupView
from nodelens_metrics.weights.norms import (
    GroupL1,
    GroupL2,
    GroupLinf,
    OutgoingL1,
    OutgoingL2,
    OutgoingLinf,
    WeightL1,
    WeightL2,
    WeightLinf,
)

WIDTH = Extent(2)


def view(*slices, **parameters):
    group = ChannelGroup(name="g", kind="channels", width=2, slices=slices)
    named = {name: torch.tensor(value) for name, value in parameters.items()}
    return GroupView(group, {}, named, torch.ones(1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (WeightL1(), [7.0, 1.0]),
        (WeightL2(), [5.0, 1.0]),
        (WeightLinf(), [4.0, 1.0]),
        (OutgoingL1(), [5.0, 7.0]),
        (OutgoingL2(), [3.0, 5.0]),
        (OutgoingLinf(), [2.0, 4.0]),
        (GroupL1(), [12.0, 8.0]),
        (GroupL2(), [34.0**0.5, 26.0**0.5]),
        (GroupLinf(), [4.0, 4.0]),
    ],
)
def test_norms_of_a_linear_layer(metric, expected):
    layer = view(
        ParameterSlice("w", 0, "producer", WIDTH),
        ParameterSlice("v", 1, "consumer", WIDTH),
        w=[[3.0, -4.0], [0.0, 1.0]],
        v=[[1.0, 0.0], [2.0, 3.0], [2.0, -4.0]],
    )
    assert metric.score(layer).tolist() == pytest.approx(expected)


def test_a_convolution_counts_its_whole_kernel():
    kernel = torch.ones(2, 3, 2, 2)
    kernel[1] *= -2
    layer = view(ParameterSlice("w", 0, "producer", WIDTH), w=kernel.tolist())
    assert WeightL1().score(layer).tolist() == [12.0, 24.0]


def test_two_producers_count_as_one_long_row():
    slices = (ParameterSlice(name, 0, "producer", WIDTH) for name in ("gate", "up"))
    layer = view(*slices, gate=[[3.0], [1.0]], up=[[-4.0], [0.0]])
    assert WeightL2().score(layer).tolist() == [5.0, 1.0]


@pytest.mark.parametrize(
    ("metric", "expected"), [(GroupL1(), [5.0, 1.0]), (GroupL2(), [13.0**0.5, 1.0])], ids=str
)
def test_a_tied_weight_is_counted_once(metric, expected):
    slices = (ParameterSlice("embed", 1, role, WIDTH) for role in ("producer", "consumer"))
    layer = view(*slices, embed=[[3.0, 0.0], [-2.0, 1.0]])
    assert metric.score(layer).tolist() == pytest.approx(expected)


def test_weights_in_half_precision_are_summed_in_float64():
    layer = view(ParameterSlice("w", 0, "producer", WIDTH), w=[[300.0, 400.0], [1.0, 0.0]])
    layer.parameters["w"] = layer.parameters["w"].half()
    assert WeightL2().score(layer).tolist() == [500.0, 1.0]


def test_without_producer_there_is_a_reason():
    with pytest.raises(NotApplicableError, match="no parameter writes these nodes"):
        WeightL1().score(view())


@pytest.mark.parametrize("metric", [OutgoingL1(), GroupL2(), GroupLinf()])
def test_without_consumer_there_is_a_reason(metric):
    layer = view(ParameterSlice("w", 0, "producer", WIDTH), w=[[1.0], [2.0]])
    with pytest.raises(NotApplicableError, match="no parameter reads these nodes"):
        metric.score(layer)
