from math import log

import pytest
import torch

from nodelens.errors import CaptureError, NotApplicableError
from nodelens.statistics.histograms import LogHistogram


def test_every_value_is_in_the_bin_between_whose_edges_it_lies(summary_of, values):
    found, stored = summary_of(LogHistogram(), values, sizes=5), values.flatten(0, 1).float()
    edges = found.edges
    for counts, side in ((found.positive, stored), (found.negative, -stored)):
        for number in range(64):
            inside = (side >= edges[:, number]) & (side < edges[:, number + 1])
            assert torch.equal(counts[:, number], inside.sum(0).double())
    assert found.count == len(stored)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_edges_belong_to_the_bin_above_in_every_precision(summary_of, dtype):
    edges = summary_of(LogHistogram(bins=40), torch.full((1, 1, 1), 2.0**15)).edges[0, 1:-1]
    found = summary_of(LogHistogram(bins=40), edges.to(dtype).view(-1, 1, 1))
    assert found.positive[0, 1:].tolist() == [1.0] * 39


def test_zeros_of_either_sign_are_counted_apart(summary_of):
    values = torch.tensor([0.0, -0.0, 1.0, -1.0]).view(4, 1, 1)
    found = summary_of(LogHistogram(), values)
    assert (found.zeros, found.positive.sum(), found.negative.sum()) == (2.0, 1.0, 1.0)


@pytest.mark.parametrize("scale", [1e-41, 1e-38, 1e-9, 1.0, 3e5, 1e37])
def test_quantiles_are_as_near_at_any_scale(summary_of, scale):
    random = torch.Generator().manual_seed(0)
    sample = torch.randn(4000, 1, 3, generator=random)
    found = summary_of(LogHistogram(bins=256), scale * sample)
    expected = scale * sample.flatten(0, 1).abs().double().quantile(0.5, dim=0)
    torch.testing.assert_close(found.magnitude_quantile(0.5), expected, rtol=0.05, atol=0.0)


def test_bins_follow_the_largest_value_whatever_the_order_of_batches(summary_of):
    random = torch.Generator().manual_seed(0)
    values = (
        torch.randn(40, 3, 4, generator=random) * 10.0 ** torch.linspace(-12, 12, 40)[:, None, None]
    )
    up = summary_of(LogHistogram(), values, sizes=3, folds=4)
    down = summary_of(LogHistogram(), values.flip(0), sizes=7, folds=2)
    assert torch.equal(up.cells, down.cells)
    assert torch.equal(up.edges, down.edges)
    assert up.below.min() > 0


def test_a_quantile_below_the_bins_is_refused(summary_of):
    values = torch.tensor([[1.0, 1e15], [1.0, 1.0], [1.0, -1.0], [0.0, 0.0]]).unsqueeze(1)
    found = summary_of(LogHistogram(), values)
    assert found.below.tolist() == [0.0, 2.0]
    assert found.magnitude_quantile(0.9)[1].item() > 1e14
    for read in (found.magnitude_quantile, found.quantile):
        with pytest.raises(NotApplicableError, match=r"nodes \[1\] have the value"):
            read(0.7)
    with pytest.raises(NotApplicableError, match=r"nodes \[1\]"):
        found.share_below(torch.tensor([1.0, 1.0]))
    assert found.share_below(torch.tensor([3.0, 1e4])).tolist() == [1.0, 0.75]


@pytest.mark.parametrize("value", [1e-60, 1e60])
def test_values_that_float32_does_not_hold_are_an_error(summary_of, value):
    with pytest.raises(CaptureError, match="a histogram reads float32"):
        summary_of(LogHistogram(), torch.full((1, 1, 1), value, dtype=torch.float64))


def test_nodes_together_have_the_bins_of_the_largest(summary_of):
    values = torch.tensor([[1e3, 1.0], [1e3, 1e-3]]).unsqueeze(1)
    found = summary_of(LogHistogram(), values).together()
    assert found.magnitude_quantile(0.9).item() == pytest.approx(1e3, rel=0.5)
    assert found.magnitude_quantile(0.2).item() == pytest.approx(1e-3, rel=0.5)


def test_padding_does_not_count(summary_of, values):
    valid = torch.arange(4) < torch.arange(1, 13).clamp(max=4).unsqueeze(1)
    found = summary_of(LogHistogram(), values * valid.unsqueeze(-1), valid=valid)
    assert found.count == valid.sum()
    assert not found.zeros.any()


@pytest.mark.parametrize("q", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_quantiles_of_a_lognormal_lie_within_a_fraction_of_a_bin(summary_of, q):
    random = torch.Generator().manual_seed(0)
    sample = torch.randn(20_000, 1, 1, generator=random, dtype=torch.float64).exp()
    found = summary_of(LogHistogram(bins=256), sample)
    assert found.quantile(q).item() == pytest.approx(sample.quantile(q).item(), rel=0.05)
    mirrored = summary_of(LogHistogram(bins=256), -sample)
    assert mirrored.quantile(1 - q).item() == pytest.approx(-sample.quantile(q).item(), rel=0.05)
    assert mirrored.magnitude_quantile(q).item() == pytest.approx(
        sample.quantile(q).item(), rel=0.05
    )


def test_quantiles_follow_the_order_of_signs(summary_of):
    values = torch.tensor([-4.0, -1.0, 0.0, 0.0, 1.0, 4.0]).view(6, 1, 1)
    found = summary_of(LogHistogram(), values)
    quantiles = [found.quantile(q).item() for q in (0.0, 0.3, 0.5, 0.8, 1.0)]
    assert quantiles == sorted(quantiles)
    assert quantiles[2] == 0.0
    assert -8.0 < quantiles[0] < -2.0
    assert 2.0 < quantiles[-1] < 8.0


def test_no_samples_give_zeros(summary_of):
    found = summary_of(LogHistogram(), torch.ones(0, 1, 2))
    assert found.quantile(0.5).tolist() == found.entropy().tolist() == [0.0, 0.0]


def test_entropy_is_that_of_the_cells(summary_of):
    values = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0], [1.0, 64.0]]).unsqueeze(1)
    found = summary_of(LogHistogram(), values).entropy()
    assert found.tolist() == pytest.approx([0.0, log(4)])
