import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.gram import Gram
from nodelens.statistics.sketch import GramSketch

ROWS, POSITIONS = 64, 32
RHO = torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64)


def correlated():
    """Return one node and three that correlate with it, exactly as `RHO` says."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS * POSITIONS, 4, generator=random, dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(0)).Q * len(x) ** 0.5
    mixed = RHO * x[:, :1] + (1 - RHO**2).sqrt() * x[:, 1:]
    return torch.cat([x[:, :1], mixed], dim=1).view(ROWS, POSITIONS, 4) + 3.0


def sketch_of(values, rank=1024, shift=0, **fields):
    rows = len(values)
    fields = {"fold": torch.zeros(rows, dtype=torch.int64), **fields}
    state = GramSketch(rank=rank).start(Layout(values.shape[-1], 1))
    index = torch.arange(rows) + shift
    GramSketch(rank=rank).update(state, Reading(values=values, index=index, **fields))
    return state, GramSketch(rank=rank).summary(state, torch.ones(1, dtype=torch.bool))


def test_mean_and_variances_are_exact(values):
    found = sketch_of(values, rank=16)[1]
    stored = values.flatten(0, 1)
    torch.testing.assert_close(found.mean, stored.mean(0))
    torch.testing.assert_close(found.variance, stored.var(0, correction=0))
    torch.testing.assert_close(found.covariance.diagonal(), found.variance)


def test_samples_that_share_no_row_give_the_covariance_itself(values):
    found = sketch_of(values[:2], rank=100_000)[1]
    exact = torch.cov(values[:2].flatten(0, 1).T, correction=0)
    torch.testing.assert_close(found.covariance, exact)


@pytest.mark.parametrize("rank", [64, 256])
def test_correlations_over_many_draws_have_the_stated_mean_and_spread(rank):
    values = correlated()
    draws = [sketch_of(values, rank, shift=ROWS * seed)[1] for seed in range(200)]
    found = torch.stack([draw.correlation[0, 1:] for draw in draws])
    spread = (1 - RHO**2) / rank**0.5
    assert ((found.mean(0) - RHO).abs() < 4 * spread / 200**0.5 + 0.2 / rank).all()
    torch.testing.assert_close(found.std(0), spread, rtol=0.25, atol=0.0)


def test_before_scaling_the_products_are_unbiased_with_the_stated_spread():
    values, rank = correlated(), 128
    products = []
    for seed in range(200):
        state, _ = sketch_of(values, rank, shift=ROWS * seed)
        d1 = state["s1"][0, 0] / state["count"][0]
        centred = state["sketch"][0] - state["signs"][0].unsqueeze(-1) * d1
        products.append((centred.T @ centred)[0, 1:] / state["count"][0])
    found = torch.stack(products)
    spread = ((1 + RHO**2) / rank) ** 0.5
    assert ((found.mean(0) - RHO).abs() < 4 * spread / 200**0.5).all()
    torch.testing.assert_close(found.std(0), spread, rtol=0.2, atol=0.0)


def test_centring_is_exact_at_a_large_offset():
    values = correlated()
    near, far = sketch_of(values)[1], sketch_of(values + 1e8)[1]
    torch.testing.assert_close(far.sketch, near.sketch, rtol=0.0, atol=1e-6)


def test_two_groups_on_the_same_positions_have_the_covariance_between_them():
    values = correlated()
    left, right = (sketch_of(part, rank=4096)[1] for part in (values[..., :1], values[..., 1:]))
    both = sketch_of(values, rank=4096)[1]
    torch.testing.assert_close(left.sketch.T @ right.sketch, both.covariance[:1, 1:])
    torch.testing.assert_close((left.sketch.T @ right.sketch)[0], RHO, rtol=0.0, atol=0.08)


def test_merging_states_with_pivots_far_apart_changes_nothing(values):
    drifting = values + 1e3 * torch.arange(12, dtype=torch.float64)[:, None, None]
    whole = sketch_of(drifting, rank=8)[1]
    total = GramSketch(rank=8).start(Layout(5, 1))
    for first in (0, 4, 8):
        GramSketch(rank=8).merge(total, sketch_of(drifting[first : first + 4], 8, first)[0])
    found = GramSketch(rank=8).summary(total, torch.ones(1, dtype=torch.bool))
    torch.testing.assert_close(found.covariance, whole.covariance)


def test_sites_of_one_group_and_sequences_of_one_row_draw_signs_of_their_own(values):
    plain = sketch_of(values, rank=8)[0]["sketch"]
    other_site = sketch_of(values, rank=8, site=1)[0]["sketch"]
    later = sketch_of(values, rank=8, start=torch.full((12,), 4))[0]["sketch"]
    assert not torch.equal(plain, other_site)
    assert not torch.equal(plain, later)


def test_a_head_of_several_components_has_one_gate_per_position(values):
    gradient = torch.randn(values.shape, generator=torch.Generator().manual_seed(1)).double()
    statistic, gram = GramSketch(of="gate", rank=100_000), Gram(of="gate")
    reading = Reading(
        values=values[:2, :, :4],
        gradient=gradient[:2, :, :4],
        fold=torch.zeros(2, dtype=torch.int64),
        index=torch.arange(2),
        components=2,
    )
    found = []
    for each in (statistic, gram):
        state = each.start(Layout(4, 1, components=2))
        each.update(state, reading)
        found.append(each.summary(state, torch.ones(1, dtype=torch.bool)).covariance)
    torch.testing.assert_close(*found)


def test_half_precision_is_upcast_before_it_is_squared():
    values = torch.tensor([[[3e4]], [[6e4]]], dtype=torch.float16)
    assert sketch_of(values)[1].variance.item() == pytest.approx(1.5e4**2, rel=1e-3)


def test_the_input_of_a_grouped_convolution_has_one_sketch_per_block(values):
    features = torch.cat([values, 2.0 * values], dim=-1)[..., :8]
    statistic = GramSketch(reads="input", rank=100_000)
    state = statistic.start(Layout(8, 1, blocks=2))
    fold = torch.zeros(12, dtype=torch.int64)
    statistic.update(state, Reading(values=features, fold=fold, index=torch.arange(12)))
    found = statistic.summary(state, torch.ones(1, dtype=torch.bool))
    exact = torch.cov(features.flatten(0, 1).T, correction=0)
    torch.testing.assert_close(found.covariance[1], exact[4:, 4:], rtol=0.05, atol=1e-6)
    assert found.mean.shape == found.variance.shape == (2, 4)
