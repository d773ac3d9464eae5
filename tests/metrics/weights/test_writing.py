import math

import pytest
import torch
from torch import nn

import nodelens
from nodelens.channels.groups import ChannelGroup, Extent, ParameterSlice
from nodelens.errors import NotApplicableError
from nodelens.scoring.view import GroupView
from nodelens_metrics.weights.writing import OutgoingEntropy, WriteConcentration, WriteOverlap

V = torch.tensor([[1.0, 5.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]).double()
"""A node that writes everything alike, one that writes one thing, one that writes nothing."""

A = torch.ones(3, 3)


def test_entropy_is_that_of_the_shares(score):
    assert score(OutgoingEntropy(), A, v=V).tolist() == pytest.approx([math.log(4), 0.0, 0.0])
    assert score(OutgoingEntropy(normalise=True), A, v=V).tolist() == pytest.approx([1.0, 0, 0])


def test_one_connection_has_no_entropy(score):
    one = torch.tensor([[1.0, 2.0, 3.0]]).double()
    assert score(OutgoingEntropy(normalise=True), A, v=one).tolist() == [0.0] * 3


def test_concentration_is_one_over_the_effective_number(score):
    assert score(WriteConcentration(), A, v=V).tolist() == pytest.approx([0.25, 1.0, 0.0])


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.1, [0.25, 1.0, 0.0]), (0.5, [0.5, 1.0, 0.0])], ids=str
)
def test_overlap_counts_the_outputs_with_the_most_shares(score, fraction, expected):
    """The first output gets 1/4 + 1 of the fractions, the others 1/4 each."""
    assert score(WriteOverlap(fraction=fraction), A, v=V).tolist() == pytest.approx(expected)


def test_a_large_node_does_not_decide_alone_where_the_group_writes(score):
    v = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1000.0]]).double()
    assert score(WriteOverlap(), A, v=v).tolist() == pytest.approx([1.0, 1.0, 0.0])


def overlap(strength, fraction):
    """Return the overlap from strengths ``(nodes, outputs)``."""
    fractions = strength / strength.sum(1, keepdim=True)
    most = fractions.sum(0).topk(max(1, round(fraction * fractions.shape[1]))).indices
    return fractions[:, most].sum(1)


def test_all_components_of_a_head_write_the_same_outputs():
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(5, 6, generator=random).double()
    part = ParameterSlice("o.weight", 1, "consumer", Extent(2, inner=3))
    group = ChannelGroup("heads", "heads", 2, slices=(part,))
    view = GroupView(group, {}, {"o.weight": weight}, torch.ones(1, dtype=torch.bool))
    expected = overlap(weight.abs().view(5, 2, 3).sum(2).T, 0.4)
    torch.testing.assert_close(WriteOverlap(fraction=0.4).score(view), expected)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_the_outputs_of_a_convolution_are_channels(kind, groups):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), kind(4, 6, 2, groups=groups), nn.ReLU())
    model = model.append(nn.Conv2d(6, 2, 1)).double()
    x = torch.randn(3, 2, 5, 5).double()
    found = nodelens.score(model, [x], [{"name": "write_overlap", "fraction": 0.34}], folds=2)
    strength = model[2].weight.detach().abs().sum((2, 3))
    if kind is nn.ConvTranspose2d:
        strength = strength.unflatten(0, (groups, -1)).transpose(0, 1).flatten(1)
    else:
        strength = strength.T
    name = "0:channels" if groups == 1 else "0:channels:2"
    expected = overlap(strength, 0.34)
    torch.testing.assert_close(torch.from_numpy(found["write_overlap", name].values), expected)


def test_without_a_reader_there_is_a_reason():
    view = GroupView(ChannelGroup("g", "nodes", 2), {}, {}, torch.ones(1, dtype=torch.bool))
    with pytest.raises(NotApplicableError, match="no parameter reads these nodes"):
        WriteOverlap().score(view)
