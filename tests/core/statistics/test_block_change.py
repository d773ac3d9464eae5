import torch
from torch.nn import functional as F

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.block_change import BlockSimilarity

KEEP = torch.ones(1, dtype=torch.bool)


def similarity(before, after, **fields):
    state = BlockSimilarity().start(Layout(before.shape[-1], 1, others=before.shape[-1]))
    fold = torch.zeros(len(before), dtype=torch.int64)
    reading = Reading(values=before, partner=after, fold=fold, **fields)
    BlockSimilarity().update(state, reading)
    return BlockSimilarity().summary(state, KEEP)


def test_means_are_those_of_the_stored_arrays(values):
    after = values + torch.randn(values.shape, generator=torch.Generator().manual_seed(1)).double()
    found = similarity(values, after)
    torch.testing.assert_close(found.cosine, F.cosine_similarity(values, after, dim=-1).mean())
    torch.testing.assert_close(found.read, values.square().sum(-1).mean())
    torch.testing.assert_close(found.written, after.square().sum(-1).mean())
    torch.testing.assert_close(found.change, (after - values).square().sum(-1).mean())
    assert found.count == 48


def test_padding_does_not_count(values):
    valid = torch.arange(4) < torch.arange(1, 13).clamp(max=4).unsqueeze(1)
    dirty = values.flip(0).masked_fill(~valid.unsqueeze(-1), 5.0)
    found = similarity(values * valid.unsqueeze(-1), dirty, valid=valid)
    expected = F.cosine_similarity(values[valid], values.flip(0)[valid], dim=-1).mean()
    torch.testing.assert_close(found.cosine, expected)
    assert found.count == valid.sum()


def test_zeros_are_like_zeros_and_unlike_anything_else():
    zero, one = torch.zeros(1, 1, 3), torch.ones(1, 1, 3)
    assert similarity(zero, zero).cosine == 1.0
    assert similarity(zero, one).cosine == 0.0
    assert similarity(one, zero).cosine == 0.0


def test_half_precision_lengths_do_not_overflow():
    values = torch.full((1, 1, 4), 6e4, dtype=torch.float16)
    assert similarity(values, values).cosine == 1.0
