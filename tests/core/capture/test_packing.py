"""Rows that are padded on either side, or hold several sequences, give what plain rows give."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.capture.batches import Batch
from nodelens.capture.hooks.site_reading import segments_of
from nodelens.capture.plan.capture_plan import LOSS
from nodelens.errors import DataError
from nodelens.statistics.classes import ClassMoments
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.histograms import LogHistogram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.statistics.pairs import CrossGram
from nodelens.statistics.targets import TargetMoments
from nodelens.statistics.weight_gradients import WeightGradients

POSITIONAL = (
    Moments(order=4),
    Magnitudes(),
    GradientMoments(),
    Gram(),
    Gram(of="gate"),
    Gram(reads="input"),
    Moments(reads="input"),
    Moments(reads="preactivation"),
    LogHistogram(),
    CrossGram(),
    TargetMoments(),
)
ROWWISE = (RowMoments(), RowGradients(), WeightGradients())
LENGTHS = (4, 2, 3, 5)


class Tokens(nn.Module):
    """A model without attention: each token has the same activation wherever it stands."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embed = nn.Embedding(11, 6)
        self.up, self.down, self.head = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 11)

    def forward(self, ids):
        x = self.embed(ids)
        return self.head(x + self.down(F.gelu(self.up(x))))


def sequences():
    g = torch.Generator().manual_seed(4)
    return [torch.randint(0, 11, (length,), generator=g) for length in LENGTHS]


def per_token(output, batch):
    """The sum of all tokens' losses in their sequences, as one loss per row of the batch."""
    nll = F.cross_entropy(output.transpose(1, 2), batch.targets, reduction="none")
    return (nll * batch.mask).sum(1)


def padded(width=5, left=False):
    ids, mask = torch.zeros(4, width, dtype=torch.long), torch.zeros(4, width, dtype=torch.bool)
    for row, sequence in enumerate(sequences()):
        place = slice(width - len(sequence), width) if left else slice(0, len(sequence))
        ids[row, place], mask[row, place] = sequence, True
    return Batch((ids,), targets=ids, mask=mask)


def packed():
    """Sequences 0 and 1, 2 and 3 in one row each, with a gap and padding at the end."""
    ids = torch.zeros(2, 9, dtype=torch.long)
    segments = torch.zeros(2, 9, dtype=torch.long)
    mask = torch.zeros(2, 9, dtype=torch.bool)
    for row, pair in enumerate([(0, 1), (2, 3)]):
        start = 0
        for each in pair:
            sequence = sequences()[each]
            place = slice(start, start + len(sequence))
            ids[row, place], segments[row, place], mask[row, place] = sequence, each + 7, True
            start += len(sequence) + (row == 0)
    return Batch((ids,), targets=ids, mask=mask, segments=segments)


def test_packed_rows_are_cut_into_their_sequences():
    found = segments_of(packed())
    assert found.row.tolist() == [0, 0, 1, 1]
    assert found.start.tolist() == [0, 5, 0, 3]
    assert found.valid.sum(1).tolist() == list(LENGTHS)
    cut = found.unpack(packed().args[0].unsqueeze(-1))[..., 0]
    for row, sequence in enumerate(sequences()):
        assert torch.equal(cut[row, : len(sequence)], sequence)


@pytest.mark.parametrize("statistic", [*POSITIONAL, *ROWWISE], ids=str)
@pytest.mark.parametrize("make", [packed, lambda: padded(9, left=True), lambda: padded(7)])
def test_every_statistic_sees_the_same_sequences(statistic, make, capture_of, check_same):
    model, example = Tokens().double(), Batch((torch.zeros(2, 3, dtype=torch.long),))
    one = capture_of(model, [padded()], (statistic,), example, loss=per_token)
    other = capture_of(model, [make()], (statistic,), example, loss=per_token)
    check_same(other, one, places=set(one.states) - {LOSS})  # whose unit is the packed row


def test_chosen_tokens_and_drawn_labels_do_not_depend_on_the_side_of_the_padding(
    capture_of, check_same
):
    model, example = Tokens().double(), Batch((torch.zeros(2, 3, dtype=torch.long),))
    some = (Gram(position_fraction=0.5), GradientMoments(labels="model"))
    expected = capture_of(model, [padded()], some, example, loss=per_token)
    for batch in (padded(9, left=True), padded(8)):
        check_same(capture_of(model, [batch], some, example, loss=per_token), expected)


def test_token_zero_and_a_leading_special_token_count_unless_the_mask_leaves_them_out(
    capture_of, summary
):
    model, example = Tokens().double(), Batch((torch.zeros(2, 3, dtype=torch.long),))
    ids = torch.tensor([[10, 0, 0, 3], [10, 1, 2, 0]])
    everything = capture_of(model, [Batch((ids,))], (Moments(),), example)
    assert summary(everything, "up:neurons", Moments()).count == 8
    mask = ids != 10
    without = capture_of(model, [Batch((ids,), mask=mask)], (Moments(),), example)
    found = summary(without, "up:neurons", Moments())
    a = F.gelu(model.up(model.embed(ids)))[mask].detach()
    assert found.count == 6
    assert torch.allclose(found.mean, a.mean(0), rtol=1e-12)


def test_gradients_at_padding_do_not_count(capture_of, summary):
    """Where tokens are mixed, padding has a gradient; it belongs to no token."""

    class Mixing(Tokens):
        def forward(self, ids):
            hidden = F.gelu(self.up(self.embed(ids)))
            return self.head(self.embed(ids) + self.down(hidden).mean(1, keepdim=True))

    model, batch = Mixing().double(), padded()
    got = capture_of(model, [batch], (GradientMoments(),), loss=per_token)
    hidden = F.gelu(model.up(model.embed(batch.args[0]))).detach().requires_grad_()
    out = model.head(model.embed(batch.args[0]) + model.down(hidden).mean(1, keepdim=True))
    (g,) = torch.autograd.grad(per_token(out, batch).sum(), hidden)
    assert bool(g[~batch.mask].abs().max() > 0)
    found = summary(got, "up:neurons", GradientMoments())
    assert torch.allclose(found.g2, g[batch.mask].square().mean(0), rtol=1e-10)


def test_a_row_without_a_token_does_not_count(capture_of, summary):
    batch = padded()
    batch.mask[2] = False
    model, example = Tokens().double(), Batch((torch.zeros(2, 3, dtype=torch.long),))
    got = capture_of(model, [batch], (RowMoments(), Moments()), example)
    assert summary(got, "up:neurons", RowMoments()).rows == 3
    assert summary(got, "up:neurons", Moments()).count == sum(LENGTHS) - LENGTHS[2]


class Heads(nn.Module):
    """Positions lie behind another axis: ``(rows, 2, tokens, nodes)``."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.down(F.relu(self.up(x))).mean((1, 2))


def test_the_mask_is_laid_over_the_axis_of_the_tokens(capture_of, summary):
    x = torch.randn(3, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[0, 3:], mask[2, :2] = False, False
    model = Heads().double()
    got = capture_of(model, [Batch((x,), mask=mask)], (Moments(),), Batch((x,)))
    a = F.relu(model.up(x)).detach().movedim(2, 1)[mask].flatten(0, 1)
    assert torch.allclose(summary(got, "up:neurons", Moments()).mean, a.mean(0), rtol=1e-12)


class Pooled(nn.Module):
    def __init__(self, keep):
        super().__init__()
        torch.manual_seed(1)
        self.keep = keep
        self.up, self.mid, self.down = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 3)

    def forward(self, x):
        a = F.relu(self.up(x))
        a = a.mean(1) if self.keep == 1 else a[:, : self.keep]
        out = self.down(F.relu(self.mid(a)))
        return out if self.keep == 1 else out.mean(1)


def test_what_is_pooled_has_one_position_and_no_padding(capture_of, summary):
    x = torch.randn(3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 0]] * 3, dtype=torch.bool)
    got = capture_of(Pooled(1).double(), [Batch((x,), mask=mask)], (Moments(),))
    assert summary(got, "up:neurons", Moments()).count == 3
    assert summary(got, "mid:neurons", Moments()).count == 3


def test_a_mask_that_does_not_fit_the_positions_leaves_the_site_out(capture_of, lost):
    x = torch.randn(3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = Batch((x,), mask=torch.ones(3, 5, dtype=torch.bool))
    reasons = lost(capture_of(Pooled(3).double(), [batch], (Moments(),))).values()
    assert any("has positions (1, 3) in a sample and the mask of" in each for each in reasons)


def test_packed_rows_have_no_class(capture_of):
    example = Batch((torch.zeros(2, 3, dtype=torch.long),))
    with pytest.raises(DataError, match="one label per row"):
        capture_of(Tokens().double(), [packed()], (ClassMoments(),), example)


def test_packed_rows_that_are_pooled_are_left_out(capture_of, lost):
    x = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = Batch((x,), segments=torch.tensor([[0, 0, 1, 1]] * 2))
    reasons = lost(capture_of(Pooled(1).double(), [batch], (Moments(),), Batch((x,)))).values()
    assert any("one position for all sequences of a packed row" in each for each in reasons)
