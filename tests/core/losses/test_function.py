"""Losses that are functions of the user's own, and labels that are no class numbers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nodelens

MODEL = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
INPUTS, LABELS = torch.randn(6, 4), torch.arange(6) % 2


def refused(labels, **options):
    with pytest.raises(nodelens.NodelensError) as found:
        nodelens.score(MODEL, [(INPUTS, labels)], ["taylor"], folds=2, **options)
    return str(found.value)


@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss(reduction="none")])
def test_a_loss_of_output_and_labels_is_told_what_it_gets(loss):
    message = refused(LABELS, loss=loss)
    assert "failed (TypeError: cross_entropy_loss()" in message
    assert "it gets the model's output and the batch, whose labels are batch.targets" in message


def test_booleans_are_class_numbers_once_they_are_numbers():
    assert "write labels.long()" in refused(LABELS.bool())
    nodelens.score(MODEL, [(INPUTS, LABELS.bool().long())], ["taylor"], folds=2)


def test_complex_labels_do_not_lose_a_part():
    assert "labels are complex numbers" in refused(LABELS + 1j)
