import pytest
import torch
from attrs import evolve

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.gram import Gram
from nodelens.statistics.sketch import GramSketch
from nodelens.testing.metric_checks import scores
from nodelens.testing.world import make_world
from nodelens_metrics.information.class_sets import ClassGreedyOInformation, ClassOInformation
from nodelens_metrics.information.decomposition import TargetExcess, TargetRedundancy, TargetSynergy
from nodelens_metrics.information.greedy import GreedyOInformation
from nodelens_metrics.information.higher_order import OInformation
from nodelens_metrics.information.peers import (
    ClassInteraction,
    ClassRedundancy,
    CopulaRedundancy,
    KSGRedundancy,
)
from nodelens_metrics.information.redundancy import Redundancy
from nodelens_metrics.mathematics import tiles
from nodelens_metrics.mathematics.estimators import standardised
from nodelens_metrics.mathematics.pairwise import mean_of_others, pairwise_information
from nodelens_metrics.mathematics.tiles import (
    FactoredCorrelations,
    correlations_in,
    correlations_of,
)
from nodelens_metrics.similarity.correlations import ActivationCorrelation, ActivationCosine
from nodelens_metrics.supernodes.core import CoreRedundancy

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
    monkeypatch.setattr(tiles, "AT_ONCE", {"cpu": 1000})
    monkeypatch.setattr(tiles, "LEAST_ROWS", 7)
    monkeypatch.setattr(tiles, "COPIED", 900)
    x = samples(nodes)
    expected = summary_of(Gram(), x).correlation
    factored = FactoredCorrelations(standardised(x), torch.tensor(float(len(x))))
    for found in (correlations_in(summary_of(Gram(), x)), correlations_of(x), factored):
        torch.testing.assert_close(whole(found), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("nodes", WIDTHS)
@pytest.mark.parametrize("statistic", [Gram(), GramSketch(rank=8)], ids=str)
def test_entries_are_those_of_the_tiles(nodes, statistic):
    found = correlations_in(summary_of(statistic, samples(nodes)))
    every = torch.arange(nodes)
    square = found.entries(every.unsqueeze(1), every)
    torch.testing.assert_close(square, whole(found), rtol=0, atol=1e-12)
    assert found.live.tolist() == [nodes <= 2 or node != 1 for node in range(nodes)]


def test_a_sketch_counts_as_noise_of_its_own():
    assert correlations_in(summary_of(Gram(), samples(9))).count == 40
    found = correlations_in(summary_of(GramSketch(rank=39), samples(9))).count
    assert found.item() == pytest.approx(1 + 39 / 2)


@pytest.mark.parametrize("top", [1, 2, 9, None])
@pytest.mark.parametrize("largest", [True, False])
def test_the_own_column_is_no_partner(top, largest):
    values = -torch.rand(6, 6, generator=torch.Generator().manual_seed(0)).double()
    expected = [
        sorted((values[i, j].item() for j in range(6) if j != i), reverse=largest)[:top]
        for i in range(6)
    ]
    found = torch.cat(
        [
            mean_of_others(values[rows].clone(), rows.start, top, largest=largest)
            for rows in (slice(0, 4), slice(4, 6))
        ]
    )
    assert found.tolist() == pytest.approx([sum(row) / len(row) for row in expected])


def test_without_others_there_is_nothing_to_average():
    assert mean_of_others(torch.ones(1, 1), 0).tolist() == [0.0]
    assert mean_of_others(torch.ones(1, 1), 0, top=2).tolist() == [0.0]


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


@pytest.mark.parametrize(
    "metric",
    [
        Redundancy(top=2),
        CopulaRedundancy(top=2),
        KSGRedundancy(partners=2),
        ClassRedundancy(),
        ClassInteraction(),
        ActivationCorrelation(top=2),
        ActivationCosine(),
        TargetRedundancy(),
        TargetSynergy(top=2),
        TargetExcess(pool=3, top=2),
        OInformation(sets=4),
        GreedyOInformation(),
        ClassOInformation(sets=4),
        ClassGreedyOInformation(),
        CoreRedundancy(core=0.5),
    ],
    ids=lambda metric: type(metric).__name__,
)
@pytest.mark.parametrize("sketch", [False, True])
def test_a_score_does_not_depend_on_the_size_of_tiles(monkeypatch, metric, sketch):
    world = make_world(nodes=11)
    metric = evolve(metric, sketch=8) if sketch and hasattr(metric, "sketch") else metric
    expected = scores(metric, world)
    monkeypatch.setattr(tiles, "AT_ONCE", {"cpu": 25})
    monkeypatch.setattr(tiles, "LEAST_ROWS", 2)
    torch.testing.assert_close(scores(metric, world), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_array_with_a_constant_far_from_zero(dtype):
    x = samples(4, rows=500).to(dtype)
    x[:, 2] = 1234.567
    assert correlations_of(x).live.tolist() == [True, False, False, True]
