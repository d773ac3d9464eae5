import pytest
import torch

from nodelens.statistics.contract import Layout, Reading
from nodelens.statistics.gram import Gram
from nodelens.statistics.sketch import GramSketch
from nodelens.testing import check_statistic
from nodelens_metrics import tiles
from nodelens_metrics.estimators import standardised
from nodelens_metrics.pairwise import pairwise_information
from nodelens_metrics.target_gram import TargetGram
from nodelens_metrics.tiled_gram import TiledGram
from nodelens_metrics.tiles import FactoredCorrelations, correlations_in, correlations_of

WIDTHS = [1, 2, 9, 300]


def samples(nodes, rows=40):
    x = torch.randn(rows, nodes, generator=torch.Generator().manual_seed(nodes)).double()
    x = x @ torch.randn(nodes, nodes, generator=torch.Generator().manual_seed(1)).double() + 3.0
    if nodes > 2:
        x[:, 1] = 0.3
    return x


def summary_of(statistic, x):
    state = statistic.start(Layout(width=x.shape[1], folds=1))
    fold = torch.zeros(len(x), dtype=torch.int64)
    statistic.update(state, Reading(x.unsqueeze(1), fold, index=torch.arange(len(x))))
    return statistic.summary(state, torch.ones(1, dtype=torch.bool))


def whole(correlations):
    parts = list(correlations.tiles())
    firsts = [first for first, _ in parts]
    sizes = [len(tile) for _, tile in parts]
    assert firsts == [sum(sizes[:number]) for number in range(len(sizes))]
    return torch.cat([tile for _, tile in parts])


@pytest.mark.parametrize("nodes", WIDTHS)
def test_tiles_are_the_rows_of_the_correlations(nodes, monkeypatch):
    monkeypatch.setattr(tiles, "_AT_ONCE", {"cpu": 1000})
    monkeypatch.setattr(tiles, "_LEAST_ROWS", 7)
    x = samples(nodes)
    expected = summary_of(Gram(), x).correlation
    factored = FactoredCorrelations(standardised(x), torch.tensor(float(len(x))))
    for found in (correlations_in(summary_of(TiledGram(), x)), correlations_of(x), factored):
        torch.testing.assert_close(whole(found), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("nodes", WIDTHS)
@pytest.mark.parametrize("statistic", [TiledGram(), GramSketch(rank=8)], ids=str)
def test_entries_are_those_of_the_tiles(nodes, statistic):
    found = correlations_in(summary_of(statistic, samples(nodes)))
    every = torch.arange(nodes)
    square = found.entries(every.unsqueeze(1), every)
    torch.testing.assert_close(square, whole(found), rtol=0, atol=1e-12)
    assert found.live.tolist() == [nodes <= 2 or node != 1 for node in range(nodes)]


@pytest.mark.parametrize("nodes", WIDTHS)
def test_the_summary_is_that_of_the_gram(nodes):
    x = samples(nodes)
    found, expected = summary_of(TiledGram(), x), summary_of(Gram(), x)
    for name in ("count", "mean", "variance", "covariance", "second_moment", "correlation"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))


def test_it_takes_the_place_of_the_gram_of_activations_alone():
    assert TiledGram().covers(Gram())
    assert not TiledGram().covers(Gram(of="gate"))
    assert not TiledGram().covers(Gram(tap="input"))


def test_a_gram_has_no_tiles():
    with pytest.raises(TypeError, match="GramSummary has neither a triangle nor a sketch"):
        correlations_in(summary_of(Gram(), samples(3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pairwise_information_of_an_array(dtype):
    x = samples(300, rows=1000).to(dtype)
    rho = torch.corrcoef(x.double().T).nan_to_num() / (1 + 1e-6)
    rho.fill_diagonal_(0.0)
    expected = (-0.5 * (-rho.square()).log1p()).sum(1) / 299
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {}
    found = pairwise_information(x)
    torch.testing.assert_close(found, expected, **tolerance)
    top = (-0.5 * (-rho.square()).log1p()).topk(5).values.mean(1)
    torch.testing.assert_close(pairwise_information(x, top=5), top, **tolerance)


STATISTICS = [TiledGram(), TargetGram(), TargetGram(sketch=8)]
CHECKS = [check for statistic in STATISTICS for check in check_statistic(statistic)]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_statistic(check):
    check.run()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_array_with_a_constant_far_from_zero(dtype):
    x = samples(4, rows=500).to(dtype)
    x[:, 2] = 1234.567
    assert correlations_of(x).live.tolist() == [True, False, False, True]
