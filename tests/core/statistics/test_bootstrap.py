import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.bootstrap import Bootstrap
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.testing.statistic_checks import tensors_of

KEEP = torch.ones(2, dtype=torch.bool)


def weights_of(rows, replicates):
    """Return how often each row counts: the count of a statistic of one position per row."""
    statistic = Bootstrap(Moments(), replicates)
    state = statistic.start(Layout(1, rows))
    index = torch.arange(rows)
    statistic.update(state, Reading(values=torch.ones(rows, 1, 1), fold=index, index=index))
    return state["count"]


def run(statistic, values, index, gradient):
    state = statistic.start(Layout(values.shape[-1], 2))
    reading = Reading(values=values, fold=index % 2, index=index, gradient=gradient)
    statistic.update(state, reading)
    return statistic.summary(state, KEEP)


@pytest.mark.parametrize(
    "inner", [Moments(order=4), RowMoments(), GradientMoments(), RowGradients()], ids=str
)
def test_a_replicate_is_the_statistic_of_rows_that_are_repeated(values, inner):
    index, counts = torch.arange(12), weights_of(12, 3).long()
    gradient = torch.randn(values.shape, generator=torch.Generator().manual_seed(1)).double()
    found = run(Bootstrap(inner, 3), values, index, gradient)
    for number, replicate in enumerate(found.replicates):
        rows = index.repeat_interleave(counts[:, number])
        expected = tensors_of(run(inner, values[rows], rows, gradient[rows]))
        for name, value in tensors_of(replicate).items():
            torch.testing.assert_close(value, expected[name])


def test_rows_are_drawn_as_often_as_poisson_says():
    counts = weights_of(2000, 10).flatten().long().bincount(minlength=5) / 20_000
    expected = torch.tensor([1.0, 1.0, 1 / 2, 1 / 6, 1 / 24]) / torch.e
    assert ((counts[:5] - expected).abs() < 4 * (expected / 20_000).sqrt()).all()


def test_replicates_and_rows_are_drawn_independently():
    counts = weights_of(2000, 8)
    rows, replicates = torch.corrcoef(counts.T), torch.corrcoef(counts[:60, :].repeat(1, 1))
    assert (rows - torch.eye(8)).abs().max() < 5 / 2000**0.5
    assert replicates.fill_diagonal_(0.0).mean().abs() < 0.05


def test_the_spread_of_the_replicates_is_the_standard_error():
    random = torch.Generator().manual_seed(0)
    values = torch.randn(400, 1, 50, generator=random, dtype=torch.float64)
    found = run(Bootstrap(Moments(), 200), values, torch.arange(400), values)
    means = torch.stack([replicate.mean for replicate in found.replicates])
    assert means.std(0).mean().item() == pytest.approx(400**-0.5, rel=0.05)


def test_the_positions_of_a_row_are_drawn_together():
    values = torch.randn(300, 1, 20, generator=torch.Generator().manual_seed(0)).double()
    one = run(Bootstrap(Moments(), 100), values, torch.arange(300), values)
    repeated = values.expand(-1, 16, -1).contiguous()
    many = run(Bootstrap(Moments(), 100), repeated, torch.arange(300), repeated)
    for left, right in zip(one.replicates, many.replicates, strict=True):
        torch.testing.assert_close(left.mean, right.mean)


def test_sequences_packed_into_one_row_are_drawn_apart():
    values, statistic = torch.ones(64, 1, 1), Bootstrap(Moments(), 4)
    state = statistic.start(Layout(1, 64))
    index, fold = torch.zeros(64, dtype=torch.int64), torch.arange(64)
    statistic.update(state, Reading(values=values, fold=fold, index=index, start=fold * 10))
    assert len(state["count"].unique()) > 2


def test_one_replicate_is_a_state_of_the_statistic(values):
    statistic = Bootstrap(Moments(), 3)
    state = statistic.start(Layout(5, 2))
    index = torch.arange(12)
    statistic.update(state, Reading(values=values, fold=index % 2, index=index))
    direct = Moments().summary(statistic.replicate(state, 1), KEEP)
    assert torch.equal(direct.mean, statistic.summary(state, KEEP).replicates[1].mean)


@pytest.mark.parametrize("inner", [Magnitudes(), Gram()], ids=str)
def test_statistics_that_are_no_sums_over_rows_are_refused(inner):
    with pytest.raises(ValueError, match="cannot be bootstrapped: its fields are not all sums"):
        Bootstrap(inner)
