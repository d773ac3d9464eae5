from math import log

import pytest
import torch

from nodelens.statistics.histograms import LogHistogram


def test_every_value_is_in_the_bin_between_whose_edges_it_lies(summary_of, values):
    found, stored = summary_of(LogHistogram(), values, sizes=5), values.flatten(0, 1).float()
    edges = found.edges
    for counts, side in ((found.positive, stored), (found.negative, -stored)):
        for number in range(64):
            inside = (side >= edges[number]) & (side < edges[number + 1])
            assert torch.equal(counts[:, number], inside.sum(0).double())
    assert found.count == len(stored)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_edges_belong_to_the_bin_above_in_every_precision(summary_of, dtype):
    edges = summary_of(LogHistogram(bins=40), torch.ones(1, 1, 1)).edges[1:-1]
    found = summary_of(LogHistogram(bins=40), edges.to(dtype).view(-1, 1, 1))
    assert found.positive[0, 1:].tolist() == [1.0] * 39


def test_zeros_of_either_sign_are_counted_apart(summary_of):
    values = torch.tensor([0.0, -0.0, 1.0, -1.0]).view(4, 1, 1)
    found = summary_of(LogHistogram(), values)
    assert (found.zeros, found.positive.sum(), found.negative.sum()) == (2.0, 1.0, 1.0)


def test_what_lies_beyond_the_edges_is_in_the_end_bins(summary_of):
    values = torch.tensor([1e-20, 1e20, -1e20]).view(3, 1, 1)
    found = summary_of(LogHistogram(), values)
    assert (found.positive[0, 0], found.positive[0, -1], found.negative[0, -1]) == (1.0, 1.0, 1.0)


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
