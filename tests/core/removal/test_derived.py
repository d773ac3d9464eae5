"""Inputs made from the example keep what their values mean."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nodelens.removal.derived import SCALE, derived, least_vocabulary
from nodelens.removal.forward import Example


def first(*args, **kwargs):
    example = next(iter(derived(Example(args, kwargs), 11)))
    return (*example.args, *example.kwargs.values())


def test_all_tensors_of_the_batch_grow_and_others_stay():
    found = list(
        derived(Example((torch.rand(3, 4), torch.rand(3), torch.rand(5, 2)), {"flag": True}), 2)
    )
    assert [each.name for each in found] == [
        "a batch of 7 with other values",
        "other values",
        "a batch of 7",
    ]
    assert [[tuple(x.shape) for x in each.args] for each in found] == [
        [(7, 4), (7,), (5, 2)],
        [(3, 4), (3,), (5, 2)],
        [(7, 4), (7,), (5, 2)],
    ]
    assert found[0].kwargs == {"flag": True}


def test_numbers_are_drawn_from_those_of_the_example_and_scaled():
    x = torch.rand(4, 5)
    (y,) = first(x)
    assert set((y / SCALE).flatten().tolist()) <= set((SCALE * x / SCALE).flatten().tolist())
    assert (y > 0).all()


def test_whole_numbers_stay_in_their_range():
    (y,) = first(torch.tensor([[3, 9], [5, 4]]))
    assert y.min() >= 3
    assert y.max() <= 9
    assert y.dtype == torch.int64


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor([[1, 1, 0], [1, 0, 0]]),
        torch.tensor([[True, False, False], [True, True, True]]),
        torch.tensor([[0.0, -torch.inf], [0.0, 0.0]]),
        torch.tensor([[1.0, 1.0], [1.0, 0.0]]),
    ],
)
def test_masks_keep_their_rows(mask):
    (y,) = first(mask)
    assert len(y) == 5
    rows = mask.tolist()
    assert all(row in rows for row in y.tolist())
    assert y.dtype == mask.dtype


def test_of_zeros_others_are_drawn():
    (y,) = first(torch.zeros(2, 3))
    assert y.abs().min() > 0


@pytest.mark.parametrize("value", [0, 1, 7])
def test_equal_whole_numbers_are_drawn_from_the_vocabulary(value):
    (y,) = first(torch.full((2, 9), value))
    assert y.min() < y.max() < 11


def test_of_ones_others_are_drawn_unless_they_may_be_a_mask():
    ones = torch.ones(2, 9)
    assert len(first(ones)[0].unique()) > 2
    assert first(torch.rand(2, 9), ones)[1].eq(1).all()


def test_the_vocabulary_is_that_of_the_smallest_embedding():
    assert least_vocabulary(nn.Sequential(nn.Embedding(9, 2), nn.Embedding(5, 2))) == 5
    assert least_vocabulary(nn.Linear(2, 2)) == 2


def test_rows_are_repeated_as_the_last_resort():
    x = torch.arange(6.0).view(2, 3)
    *_, last = derived(Example((x,), {}), 2)
    assert torch.equal(last.args[0], x[[0, 1, 0, 1, 0]])


def test_without_tensors_there_is_no_batch():
    (other,) = derived(Example((3,), {}), 2)
    assert other.args == (3,)
