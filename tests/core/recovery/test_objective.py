"""The losses of a recovery against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nodelens.capture.batches import Batch
from nodelens.interfaces.statistic import IGNORED
from nodelens.recovery.fine_tune import Distillation
from nodelens.recovery.objective import divergence, objective


class Table(nn.Module):
    """Gives the logits that it holds."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.logits[rows]


def logits(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_divergence_is_the_sum_of_its_definition(temperature):
    ours, theirs = logits(0, 7, 5), logits(1, 7, 5)
    total = 0.0
    for row in range(7):
        p = torch.exp(theirs[row] / temperature)
        q = torch.exp(ours[row] / temperature)
        p, q = p / p.sum(), q / q.sum()
        total += float((p * torch.log(p / q)).sum())
    found = divergence(ours, theirs, temperature)
    assert float(found) == pytest.approx(total / 7 * temperature**2)


def test_the_parts_add_up_by_their_weights():
    model, dense = Table(logits(0, 6, 4)), Table(logits(1, 6, 4))
    batch = Batch((torch.arange(6),), targets=torch.tensor([0, 1, 2, 3, 0, 1]))
    alone = objective(model, dense, None, batch)
    expected = nn.functional.cross_entropy(model.logits, batch.targets)
    assert alone.total == alone.parts["labels"] == expected
    both = objective(model, dense, Distillation(weight=0.3, temperature=2.0), batch)
    apart = divergence(model.logits, dense.logits, 2.0)
    assert both.parts["divergence"] == apart
    torch.testing.assert_close(both.total, 0.7 * expected + 0.3 * apart)
    both.total.backward()
    assert dense.logits.grad is None


def test_only_labelled_and_unmasked_positions_count():
    model, dense = Table(logits(0, 3, 4, 5)), Table(logits(1, 3, 4, 5))
    targets = torch.randint(0, 5, (3, 4), generator=torch.Generator().manual_seed(0))
    targets[0, 1] = IGNORED
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[2, 3:] = False
    batch = Batch((torch.arange(3),), targets=targets, mask=mask)
    counted = mask & (targets != IGNORED)
    found = objective(model, dense, Distillation(0.5, 1.0), batch)
    expected = nn.functional.cross_entropy(model.logits[counted], targets[counted])
    torch.testing.assert_close(found.parts["labels"], expected)
    apart = divergence(model.logits[counted], dense.logits[counted], 1.0)
    torch.testing.assert_close(found.parts["divergence"], apart)


def test_losses_of_half_precision_are_computed_in_single():
    model = Table(logits(0, 6, 4).bfloat16())
    batch = Batch((torch.arange(6),), targets=torch.zeros(6, dtype=torch.int64))
    assert objective(model, model, None, batch).total.dtype == torch.float32
