"""The graph that users have: groups as a plain value, and three verbs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nodelens
from nodelens.channels import ChannelGraph
from nodelens.channels.infer import infer as infer_groups
from nodelens.errors import ModelError, UnknownNameError
from nodelens.masks import kept_nodes

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
KEEP = {"0:neurons": [0, 2, 3]}


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def test_it_is_a_channel_graph_with_the_same_groups():
    graph, groups = nodelens.infer(model(), X), infer_groups(model(), X)
    assert isinstance(graph, ChannelGraph)
    assert graph == nodelens.infer(model(), X)
    assert (list(graph), len(graph)) == (list(groups), len(groups))
    assert graph["0:neurons"] == groups["0:neurons"]
    with pytest.raises(UnknownNameError, match="did you mean '0:neurons'"):
        graph["0:neuron"]


def test_its_verbs_are_those_of_masks_and_removal():
    net = model()
    graph = nodelens.infer(net, X)
    assert [(each.group, each.status) for each in graph.verify(net, X)] == [("0:neurons", "exact")]
    with graph.mask(net, KEEP):
        masked = net(X)
    assert graph.remove(net, KEEP, X).keep == {"0:neurons": (0, 2, 3)}
    assert torch.allclose(net(X), masked, atol=1e-6)


def test_plain_groups_have_no_verbs():
    assert not any(hasattr(ChannelGraph, verb) for verb in ("mask", "remove", "verify"))


@pytest.mark.parametrize(
    "kept", [torch.tensor([1.0, 1, 0, 0, 0, 0]), [0.9, 2.7], [[0, 1]], 3], ids=str
)
def test_kept_nodes_are_whole_numbers_or_a_bool_for_each(kept):
    net = model()
    graph = nodelens.infer(net, X)
    with pytest.raises(ModelError, match="0:neurons: expected the numbers of the kept nodes, or a"):
        graph.mask(net, {"0:neurons": kept}).__enter__()
    with pytest.raises(ModelError, match="0:neurons: expected the numbers of the kept nodes, or a"):
        graph.remove(net, {"0:neurons": kept}, X)


def test_a_replacement_of_another_name_is_refused():
    net = model()
    with pytest.raises(ModelError, match="replace: 'Mean' is no replacement; did you mean 'mean'"):
        nodelens.infer(net, X).mask(net, KEEP, "Mean").__enter__()


@pytest.mark.parametrize(
    "kept",
    [
        range(3),
        np.arange(3),
        [np.int64(0), np.uint8(1), torch.tensor(2)],
        torch.tensor([2, 1, 0], dtype=torch.uint8),
        slice(3),
        slice(np.int64(0), torch.tensor(3)),
        slice(2, None, -1),
        np.array([True] * 3 + [False] * 3),
        [True] * 3 + [False] * 3,
        torch.tensor([1, 1, 1, 0, 0, 0]).bool(),
    ],
    ids=str,
)
def test_kept_nodes_are_written_in_many_forms(kept):
    group = nodelens.infer(model(), X)["0:neurons"]
    assert kept_nodes(group, kept).tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([0, -1], r"nodes run from 0 to 5, got \[0, -1\]"),
        (np.array([6]), r"nodes run from 0 to 5, got \[6\]"),
        ([2**70], "nodes run from 0 to 5"),
        ([0, 2, 2, 2], "node 2 is listed 3 times, list it once"),
        ([0, 1.0], "expected the numbers"),
        (np.ones(6), "expected the numbers"),
        ([True, 2], "expected the numbers"),
        ("01", "expected the numbers"),
        (None, "expected the numbers"),
        (slice(-2, None), "expected a slice from 0 to 6"),
        (torch.tensor([0, 1], device="meta"), "expected the numbers of the kept nodes"),
        (torch.tensor([0, 1]).to_sparse(), "expected the numbers of the kept nodes"),
        (slice(9), "expected a slice from 0 to 6"),
        (slice(0.0, 2), "expected a slice from 0 to 6"),
    ],
    ids=str,
)
def test_kept_nodes_that_are_none_are_errors(kept, message):
    group = nodelens.infer(model(), X)["0:neurons"]
    with pytest.raises(ModelError, match=message):
        kept_nodes(group, kept)
