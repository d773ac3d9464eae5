"""The rows of one weight that write the nodes of a group."""

import pytest
import torch
from torch import nn

from nodelens.channels.groups import ChannelGroup, Extent, ParameterSlice
from nodelens.errors import NotApplicableError
from nodelens.scoring.view import GroupView, Network


def view(*slices, modules=None, **parameters):
    group = ChannelGroup("g", "nodes", slices[0].extent.width if slices else 2, slices)
    network = Network(modules=modules or {})
    return GroupView(group, {}, parameters, torch.ones(1, dtype=torch.bool), network)


def written(parameter, **extent):
    return ParameterSlice(parameter, 0, "producer", Extent(2, **extent))


def test_rows_of_a_matrix_are_nodes_first():
    weight = torch.arange(6.0).view(2, 3)
    found = view(written("a.weight"), **{"a.weight": weight.half()}).producer()
    assert found.module == "a"
    assert torch.equal(found.rows, weight.double().unsqueeze(1))
    assert found.block.tolist() == [[0], [0]]


def test_rows_of_a_matrix_that_is_stored_transposed():
    weight = torch.arange(6.0).view(3, 2)
    part = ParameterSlice("a.weight", 1, "producer", Extent(2))
    assert torch.equal(view(part, **{"a.weight": weight}).producer().weight, weight.T.double())


def test_a_head_has_a_block_of_rows():
    weight = torch.arange(12.0).view(6, 2)
    head = view(written("v.weight", inner=3), **{"v.weight": weight})
    assert torch.equal(head.written_by().rows, weight.double().view(2, 3, 2))
    assert torch.equal(head.written_by().weight, weight.double())
    with pytest.raises(NotApplicableError, match="several rows of weights"):
        head.producer()


def test_slices_of_one_weight_may_differ_in_size():
    """Query and key of grouped attention in one matrix: four rows and two for each node."""
    weight = torch.arange(12.0).view(12, 1)
    parts = (written("qk.weight", inner=4), written("qk.weight", inner=2, offset=8))
    rows = view(*parts, **{"qk.weight": weight}).written_by("qk").rows
    assert rows[..., 0].tolist() == [[0, 1, 2, 3, 8, 9], [4, 5, 6, 7, 10, 11]]


def test_rows_of_a_grouped_convolution_know_their_block():
    conv = nn.Conv1d(4, 4, 1, groups=2)
    part = written("c.weight", outer=2)
    found = view(part, modules={"c": conv}, **{"c.weight": conv.weight}).written_by()
    assert (found.blocks, found.block.tolist()) == (2, [[0, 1], [0, 1]])


@pytest.mark.parametrize("name", ["up_proj", "up_proj.weight", "mlp.up_proj", "0.mlp.up_proj"])
def test_the_last_parts_of_a_path_name_a_weight(name):
    parts = [written(f"0.mlp.{each}_proj.weight") for each in ("gate", "up")]
    weights = {part.parameter: torch.randn(2, 3) for part in parts}
    assert view(*parts, **weights).written_by(name).module == "0.mlp.up_proj"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "3 weights write these nodes: 0.up.weight, 1.up.weight, sup.weight; metrics with"),
        ("up", "2 weights write these nodes: 0.up.weight, 1.up.weight; metrics with"),
        ("p", "no weight called p writes these nodes, but 0.up.weight, 1.up.weight, sup.weight"),
    ],
)
def test_a_name_of_several_or_of_none_is_a_reason(name, reason):
    parts = [written(f"{each}.weight") for each in ("0.up", "1.up", "sup")]
    weights = {part.parameter: torch.randn(2, 3) for part in parts}
    with pytest.raises(NotApplicableError, match=reason):
        view(*parts, **weights).written_by(name)


def test_nodes_that_nothing_writes_are_a_reason():
    with pytest.raises(NotApplicableError, match="no parameter writes these nodes"):
        view().written_by()


@pytest.mark.parametrize(
    ("module", "shape"), [(nn.ConvTranspose1d(4, 4, 1, groups=2), (4, 2, 1)), (None, (2, 3, 4))]
)
def test_weights_whose_rows_are_no_channels_are_a_reason(module, shape):
    """A row of a grouped transposed convolution writes a channel of each group, as do experts'."""
    part = ParameterSlice("c.weight", 1, "producer", Extent(2))
    modules = {} if module is None else {"c": module}
    with pytest.raises(NotApplicableError, match=r"rows of c.weight do not write one channel each"):
        view(part, modules=modules, **{"c.weight": torch.randn(shape)}).written_by()
