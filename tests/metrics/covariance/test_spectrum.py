"""Spectra against closed forms, brute force and other libraries."""

import numpy as np
import pytest
import torch

from nodelens.errors import NotApplicableError
from nodelens.testing.world import make_world
from nodelens.testing.world_view import view_of
from nodelens_metrics.covariance.spectrum import (
    EffectiveRank,
    EigenShare,
    EigenspectrumDecay,
    Leverage,
    NESum,
    ParticipationContribution,
    ParticipationRatio,
    RankContribution,
    SpectralEntropy,
)
from nodelens_metrics.mathematics import spectra
from nodelens_metrics.weights.weight_spectrum import (
    WeightAlpha,
    WeightAlphaDistance,
    WeightEffectiveRank,
    WeightSpikes,
    WeightStableRank,
)


def diagonal(*values):
    return torch.diag(torch.tensor(values, dtype=torch.float64)).tolist()


def covariance_of(world):
    return torch.cov(world.activation.flatten(0, 1).T, correction=0)


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        (EffectiveRank(), (1.0, 1.0, 1.0, 1.0), 4.0),
        (EffectiveRank(), (9.0, 1.0), np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))),
        (ParticipationRatio(), (3.0, 1.0), 1.6),
        (SpectralEntropy(), (2.0, 2.0, 2.0), 1.0),
        (NESum(), (4.0, 2.0, 2.0), 2.0),
        (EigenspectrumDecay(until=1.0), tuple(k**-1.5 for k in range(1, 7)), 1.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_of_known_spectrum(score, gaussian, metric, values, expected):
    found = score(metric, gaussian(diagonal(*values)))
    assert found.tolist() == pytest.approx([expected])


def published_decay(eigenvalues, ranks):
    """The fit of the authors' code: weighted normal equations in −log k and 1."""
    k = np.array(list(ranks)) + 1
    x = np.stack([-np.log(k), np.ones(len(k))], axis=1)
    weights = (1.0 / k)[:, None]
    return np.linalg.solve(x.T @ (x * weights), (weights * x).T @ np.log(eigenvalues[k - 1]))[0]


@pytest.mark.parametrize(("skip", "until", "ranks"), [(0, 1.0, range(8)), (2, 0.75, range(2, 6))])
def test_the_decay_is_the_published_fit(score, gaussian, skip, until, ranks):
    values = np.array([9.0, 7.0, 2.0, 1.5, 1.4, 0.3, 0.2, 0.01])
    x = gaussian(diagonal(*values))
    found = score(EigenspectrumDecay(skip=skip, until=until), x)
    assert found.tolist() == pytest.approx([published_decay(values, ranks)])
    plain = score(EigenspectrumDecay(skip=skip, until=until, weighted=False), x)
    k = np.array(list(ranks)) + 1
    assert plain.tolist() == pytest.approx([-np.polyfit(np.log(k), np.log(values[k - 1]), 1)[0]])


def test_contributions_are_what_leaving_a_node_out_changes():
    world = make_world()
    covariance = covariance_of(world)
    keep = [[k for k in range(world.nodes) if k != node] for node in range(world.nodes)]
    without = torch.stack([covariance[rows][:, rows] for rows in keep])
    exact = torch.linalg.eigvalsh(without)
    whole = torch.linalg.eigvalsh(covariance)
    for metric, of in (
        (RankContribution(), spectra.effective_rank),
        (ParticipationContribution(), lambda v: v.sum(-1).square() / v.square().sum(-1)),
    ):
        found = metric.score(view_of(world, metric.statistics))
        torch.testing.assert_close(found, of(whole) - of(exact), rtol=1e-7, atol=1e-9)


def test_effective_ranks_without_a_node_that_stands_alone():
    whole, found = spectra.effective_rank_without_each(
        torch.diag(torch.tensor([4.0, 1, 1]).double())
    )
    of = [spectra.effective_rank(torch.tensor(left).double()) for left in ([1.0, 1], [4.0, 1])]
    assert whole == pytest.approx(float(spectra.effective_rank(torch.tensor([4.0, 1, 1]).double())))
    assert found.tolist() == pytest.approx([2.0, float(of[1]), float(of[1])], rel=1e-13)


def spread(samples, nodes, scales=1.0, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.cov((torch.randn(samples, nodes, generator=random).double() * scales).T)


COVARIANCES = {
    "two": spread(9, 2),
    "full rank": spread(200, 40),
    "fewer samples than nodes": spread(12, 40),
    "equal eigenvalues": torch.eye(12).double(),
    "many scales": torch.diag(torch.logspace(-7, 3, 20).double()),
    "scales of nodes": spread(200, 30, torch.logspace(-3, 2, 30).double()),
    "nodes apart": torch.block_diag(spread(50, 9), spread(50, 7), torch.eye(3).double()),
    "duplicates": spread(50, 10).repeat(2, 2),
    "a dead node": torch.block_diag(spread(50, 9), torch.zeros(1, 1).double()),
    "nothing": torch.zeros(6, 6).double(),
    "one node is nearly all": spread(60, 5, torch.tensor([1e-5, 1e-5, 1e3, 1e-5, 1e-5]).double()),
    "one node is all": torch.diag(torch.tensor([0.0, 3.0, 0.0]).double()),
    "one outlier": spread(60, 20, torch.tensor([1e4] + 19 * [1.0]).double()),
}


@pytest.mark.parametrize("covariance", COVARIANCES.values(), ids=COVARIANCES)
def test_effective_ranks_without_each_node_are_those_of_what_is_left(covariance):
    keep = [[k for k in range(len(covariance)) if k != node] for node in range(len(covariance))]
    exact = [torch.linalg.eigvalsh(covariance[rows][:, rows]).clamp(min=0.0) for rows in keep]
    whole, found = spectra.effective_rank_without_each(covariance)
    torch.testing.assert_close(
        found, spectra.effective_rank(torch.stack(exact)), rtol=1e-10, atol=1e-10
    )
    spectrum = spectra.eigenvalues(covariance)
    torch.testing.assert_close(whole, spectra.effective_rank(spectrum), rtol=1e-10, atol=0.0)


def test_without_a_single_node_nothing_is_left():
    whole, found = spectra.effective_rank_without_each(torch.ones(1, 1).double())
    assert (whole.item(), found.tolist()) == (1.0, [0.0])


def test_leverage_of_duplicates_is_shared(score, gaussian):
    x = gaussian([[1.0, 0.0], [0.0, 1.0]])
    doubled = torch.cat([x, x[:, :1]], dim=1)
    found = score(Leverage(ridge=1e-9, centred=True), doubled)
    assert found.tolist() == pytest.approx([0.5, 1.0, 0.5], abs=1e-6)


def test_leverage_is_that_of_ridge_regression():
    world = make_world()
    metric = Leverage(ridge=0.1)
    flat = world.activation.flatten(0, 1)
    moments = flat.T @ flat / len(flat)
    ridge = 0.1 * moments.diagonal().mean() * torch.eye(world.nodes, dtype=torch.float64)
    exact = (moments @ torch.linalg.inv(moments + ridge)).diagonal()
    torch.testing.assert_close(metric.score(view_of(world, metric.statistics)), exact)


def test_shares_of_all_directions_are_shares_of_the_variance():
    world = make_world()
    metric = EigenShare(top=None)
    covariance = covariance_of(world)
    found = metric.score(view_of(world, metric.statistics))
    torch.testing.assert_close(found, covariance.diagonal() / covariance.trace())
    assert float(EigenShare().score(view_of(world, metric.statistics)).sum()) == pytest.approx(1.0)


def test_a_silent_layer_has_no_spectrum(score):
    with pytest.raises(NotApplicableError, match="no node of the group varies"):
        score(EffectiveRank(), torch.zeros(8, 3))


def heavy_tailed(n, alpha, seed):
    random = np.random.default_rng(seed)
    return torch.tensor((1.0 - random.random(n)) ** (-1.0 / (alpha - 1.0)))


def test_the_exponent_of_a_pareto_sample_is_found():
    fitted = spectra.power_law(heavy_tailed(4000, 2.5, 0))
    assert fitted.alpha == pytest.approx(2.5, abs=4 * 1.5 / np.sqrt(fitted.tail))
    assert fitted.distance < 0.03


def test_the_fit_is_the_best_of_every_start():
    values = heavy_tailed(60, 3.0, 1).sort().values
    best = None
    for first in range(len(values) - 1):
        tail = values[first:].numpy()
        alpha = 1 + len(tail) / np.log(tail / tail[0]).sum()
        empirical = np.arange(len(tail)) / len(tail)
        distance = np.abs(1 - (tail / tail[0]) ** (1 - alpha) - empirical).max()
        if best is None or distance < best[0]:
            best = (distance, alpha, tail[0], len(tail))
    fitted = spectra.power_law(values)
    found = (fitted.distance, fitted.alpha, fitted.start, fitted.tail)
    assert found == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("values", [torch.ones(50), torch.arange(1.0, 5.0), torch.zeros(0)])
def test_a_flat_or_short_spectrum_has_no_exponent(values):
    assert spectra.power_law(values) is None


@pytest.mark.parametrize(("rows", "columns"), [(200, 400), (300, 100)])
def test_a_random_matrix_has_no_spikes_and_a_planted_one_sticks_out(rows, columns, score):
    random = torch.Generator().manual_seed(0)
    w = torch.randn(rows, columns, generator=random, dtype=torch.float64)
    x = torch.zeros(2, rows)
    assert float(score(WeightSpikes(), x, w=w)) == pytest.approx(1.0, abs=0.1)
    ends = (torch.randn(n, 1, generator=random, dtype=torch.float64) for n in (rows, columns))
    left, right = (end / end.norm() for end in ends)
    planted = w + 4.0 * (rows**0.5 + columns**0.5) * left @ right.T
    assert float(score(WeightSpikes(of="number"), x, w=planted)) == 1.0
    assert float(score(WeightSpikes(), x, w=planted)) == pytest.approx(17.0, rel=0.1)


@pytest.mark.parametrize(("rows", "columns", "planted"), [(400, 300, 60), (500, 500, 50)])
def test_many_spikes_are_told_from_what_they_leave(rows, columns, planted, score):
    random = torch.Generator().manual_seed(0)
    w = torch.randn(rows, columns, generator=random, dtype=torch.float64)
    ends = (torch.randn(n, planted, generator=random, dtype=torch.float64) for n in (rows, columns))
    left, right = (torch.linalg.qr(end)[0] for end in ends)
    w += 2.0 * (rows**0.5 + columns**0.5) * left @ right.T
    assert float(score(WeightSpikes(of="number"), torch.zeros(2, rows), w=w)) == planted


@pytest.mark.parametrize("dead", [20, 100])
def test_rows_and_columns_of_zeros_change_no_spike(dead, score):
    random = torch.Generator().manual_seed(0)
    w = torch.randn(200, 300, generator=random, dtype=torch.float64)
    w[:, 0] *= 40.0
    masked = torch.zeros(200 + dead, 300 + dead, dtype=torch.float64)
    masked[dead:, :300] = w
    for of in ("number", "largest"):
        whole, rest = (
            score(WeightSpikes(of=of), torch.zeros(2, len(each)), w=each) for each in (w, masked)
        )
        torch.testing.assert_close(whole, rest)


def test_ranks_of_a_known_weight(score):
    w = torch.diag(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64))
    x = torch.zeros(2, 3)
    assert float(score(WeightStableRank(), x, w=w)) == pytest.approx(6 / 4)
    p = np.array([0.5, 0.25, 0.25])
    assert float(score(WeightEffectiveRank(), x, w=w)) == pytest.approx(
        np.exp(-(p * np.log(p)).sum())
    )


def test_alpha_hat_is_weighted_by_the_largest_value(score):
    random = torch.Generator().manual_seed(3)
    w = torch.randn(40, 60, generator=random, dtype=torch.float64)
    x = torch.zeros(2, 40)
    alpha, weighted = (score(WeightAlpha(weighted=each), x, w=w) for each in (False, True))
    largest = torch.linalg.svdvals(w)[0].square()
    torch.testing.assert_close(weighted, alpha * largest.log10())
    assert 0.0 < float(score(WeightAlphaDistance(), x, w=w)) < 0.5


def test_zero_weights_have_no_spectrum(score):
    with pytest.raises(NotApplicableError, match="all weights are 0"):
        score(WeightStableRank(), torch.zeros(2, 3), w=torch.zeros(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("of", ["largest", "number"])
def test_a_spectrum_without_a_bulk_has_no_spikes_to_tell(of, score):
    w = torch.outer(torch.linspace(1, 2, 40).double(), torch.linspace(1, 3, 60).double())
    with pytest.raises(NotApplicableError, match="no bulk"):
        score(WeightSpikes(of=of), torch.zeros(2, 40), w=w)
