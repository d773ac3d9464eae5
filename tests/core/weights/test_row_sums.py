"""Sums over the rows of weights, by brute force over the indices that each node owns."""

import pytest
import torch
from attrs import evolve, frozen

from nodelens.channels.groups import ChannelGroup, Extent, ParameterSlice
from nodelens.errors import NotApplicableError
from nodelens.scoring import group_weights
from nodelens.scoring.view import GroupView, Network
from nodelens.weights.row_sums import RowSums
from nodelens.weights.rows import Rows

PLACES = {
    "rows": ((6, 5), 0, Extent(6)),
    "columns": ((5, 6), 1, Extent(6)),
    "kernels": ((6, 4, 3, 3), 0, Extent(6)),
    "read kernels": ((4, 6, 3, 3), 1, Extent(6)),
    "heads": ((12, 5), 0, Extent(3, inner=4)),
    "read heads": ((5, 12), 1, Extent(3, inner=4)),
    "interleaved": ((24, 5), 0, Extent(3, offset=2, inner=2, outer=2, period=12)),
    "segment": ((9, 5), 0, Extent(4, offset=3)),
    "experts": ((2, 5, 6), 2, Extent(6)),
    "scale": ((6,), 0, Extent(6)),
}

TERMS = {
    "abs": lambda row: row.abs().sum(),
    "square": lambda row: row.square().sum(),
    "largest": lambda row: row.abs().max(),
    "entropy": lambda row: torch.special.entr(row.abs()).sum().neg(),
}


def view(*parts, **parameters):
    group = ChannelGroup("g", "nodes", parts[0].extent.width, parts)
    return GroupView(group, {}, parameters, torch.ones(1, dtype=torch.bool), Network())


def weight(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tile", [7, 2**20])
@pytest.mark.parametrize("of", TERMS)
@pytest.mark.parametrize("place", PLACES)
def test_every_row_has_the_sum_of_its_entries(place, of, tile, monkeypatch):
    monkeypatch.setattr(group_weights, "TILE", tile)
    shape, axis, extent = PLACES[place]
    stored = weight(shape)
    part = ParameterSlice("w", axis, "producer", extent)
    found = view(part, w=stored)[RowSums(of, "producer")]
    rows = stored.double().movedim(axis, 0).reshape(shape[axis], -1)
    wanted = torch.stack(
        [torch.stack([TERMS[of](rows[index]) for index in each]) for each in extent.indices()]
    )
    ((key, values),) = found.rows.items()
    assert key == ("w", axis, extent)
    torch.testing.assert_close(values, wanted)
    whole = wanted.amax(1) if of == "largest" else wanted.sum(1)
    torch.testing.assert_close(found.total, whole)
    assert found.count == rows.shape[1] * wanted.shape[1]
    flat = found.of_components(wanted.shape[1])
    torch.testing.assert_close(flat.total, wanted.flatten() if wanted.shape[1] > 1 else whole)


def test_several_weights_add_up_and_a_tied_one_counts_once():
    extent, tied = Extent(4), weight((5, 4))
    parts = (
        ParameterSlice("a", 0, "producer", extent),
        ParameterSlice("tied", 1, "producer", extent),
        ParameterSlice("tied", 1, "consumer", extent),
        ParameterSlice("b", 1, "consumer", extent),
    )
    found = view(*parts, a=weight((4, 3), 1), tied=tied, b=weight((2, 4), 2))
    a, t, b = (each.double().abs() for each in (weight((4, 3), 1), tied, weight((2, 4), 2)))
    sizes = [a.sum(1), t.sum(0), b.sum(0)]
    torch.testing.assert_close(found[RowSums("abs", "producer")].total, sizes[0] + sizes[1])
    torch.testing.assert_close(found[RowSums("abs", "consumer")].total, sizes[1] + sizes[2])
    torch.testing.assert_close(found[RowSums("abs", "either")].total, sum(sizes))
    largest = torch.stack([a.amax(1), t.amax(0), b.amax(0)])
    torch.testing.assert_close(found[RowSums("largest", "either")].total, largest.amax(0))


def test_rows_that_are_no_components_are_a_reason():
    part = ParameterSlice("w", 0, "producer", Extent(3, inner=4))
    found = view(part, w=weight((12, 5)))[RowSums("abs", "producer")]
    with pytest.raises(NotApplicableError, match="holds 4 numbers of a node, which has 2 comp"):
        found.of_components(2)


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        ("producer", "no parameter writes these nodes"),
        ("consumer", "no parameter reads these nodes"),
        ("either", "no weight writes or reads these nodes"),
    ],
)
def test_without_a_weight_there_is_a_reason(role, reason):
    part = ParameterSlice("w", 0, "carrier", Extent(6))
    found = view(part, w=weight((6,)))
    with pytest.raises(NotApplicableError, match=reason):
        found[RowSums("abs", role)]
    assert len(found[RowSums("abs", "carrier")].by_slice) == 1


def test_half_precision_is_summed_in_double():
    part = ParameterSlice("w", 0, "producer", Extent(2))
    stored = torch.full((2, 4096), 1.001).half()
    found = view(part, w=stored)[RowSums("abs", "producer")].total
    torch.testing.assert_close(found, stored.double().sum(1))


CALLS = []


@frozen
class Counting:
    """Counts how often it is computed."""

    def reduce(self, weights):
        CALLS.append(weights.width)
        return weights.width


def test_a_reduction_is_computed_once_for_all_metrics_and_folds():
    CALLS.clear()
    found = view(ParameterSlice("w", 0, "producer", Extent(2)), w=weight((2, 3)))
    other = evolve(found, keep=torch.zeros(1, dtype=torch.bool))
    assert [found[Counting()], other[Counting()], found[Counting()]] == [2, 2, 2]
    assert CALLS == [2]


def test_a_reduction_that_is_not_declared_is_an_error():
    found = view(ParameterSlice("w", 0, "producer", Extent(2)), w=weight((2, 3)))
    limited = evolve(found, declared=frozenset({Rows("producer")}))
    assert limited[Rows("producer")].matrix.shape == (2, 3)
    with pytest.raises(ValueError, match="is read, but not named in the metric's 'weights'"):
        limited[RowSums("abs", "producer")]
