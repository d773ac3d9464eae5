from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch

from nodelens.capture.batches import Batch, as_batch
from nodelens.capture.losses import logits_of, row_losses
from nodelens.errors import DataError, ModelError

X, Y = torch.zeros(3, 4), torch.tensor([0, 1, 2])


@pytest.mark.parametrize(
    ("value", "args", "targets"),
    [
        (X, 1, False),
        ((X,), 1, False),
        ([X, Y], 1, True),
        ((X, Y), 1, True),
        ({"x": X, "labels": Y}, 0, True),
        (Batch((X,), targets=Y), 1, True),
    ],
)
def test_common_batches_become_one(value, args, targets):
    batch = as_batch(value, first=7)
    assert (len(batch.args), batch.targets is not None, batch.first, batch.rows) == (
        args,
        targets,
        7,
        3,
    )


def test_attention_mask_is_given_to_the_model_and_says_what_counts():
    mask = torch.tensor([[1, 0], [1, 1]])
    batch = as_batch({"input_ids": torch.zeros(2, 2), "attention_mask": mask})
    assert set(batch.kwargs) == {"input_ids", "attention_mask"}
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("value", ["text", 3, (X, Y, Y), ("a", X)])
def test_anything_else_is_refused(value):
    with pytest.raises(DataError, match="cannot read a batch of type"):
        as_batch(value)


def test_logits_come_from_tensors_tuples_dicts_and_model_outputs():
    class Output:
        logits = X

    for output in (X, (X, Y), [X], {"logits": X}, Output()):
        assert logits_of(output) is X
    with pytest.raises(ModelError, match="returned str without logits"):
        logits_of("nothing")


def test_a_dataclass_is_read_by_its_fields():
    @dataclass
    class Tokens:
        input_ids: torch.Tensor
        attention_mask: torch.Tensor
        labels: torch.Tensor

    mask = torch.tensor([[1, 0, 1, 1]] * 3)
    batch = as_batch(Tokens(X, mask, Y), first=2)
    assert set(batch.kwargs) == {"input_ids", "attention_mask"}
    assert batch.targets is Y
    assert batch.mask is not None
    assert (batch.first, batch.rows, batch.length) == (2, 3, 4)
    with pytest.raises(DataError, match="cannot read a batch of type type"):
        as_batch(Tokens)


def test_other_mappings_and_named_tuples_are_read_as_what_they_are():
    class Pair(NamedTuple):
        image: torch.Tensor
        label: torch.Tensor

    assert as_batch(Pair(X, Y)).targets is Y
    assert set(as_batch(UserDict(x=X, labels=Y)).kwargs) == {"x"}


def test_everything_of_a_batch_goes_to_its_device():
    mask = torch.ones(3, 4, dtype=torch.bool)
    batch = Batch((X, "text"), {"y": X}, targets=Y, mask=mask, segments=mask.long())
    moved = batch.to(torch.device("meta"))
    tensors = (moved.args[0], moved.kwargs["y"], moved.targets, moved.mask, moved.segments)
    assert all(each is not None and each.device.type == "meta" for each in tensors)
    assert moved.args[1] == "text"


def test_rows_can_be_picked_with_all_that_belongs_to_them():
    batch = Batch((X,), targets=Y, first=4, segments=torch.arange(12).view(3, 4))
    some = batch.rows_where(torch.tensor([True, False, True]))
    assert (some.rows, some.numbers.tolist()) == (2, [4, 6])
    assert some.targets is not None
    assert some.targets.tolist() == [0, 2]
    assert some.segments is not None
    assert some.segments[:, 0].tolist() == [0, 8]


def test_labels_beyond_the_outputs_are_named():
    batch = Batch((X,), targets=torch.tensor([0, 5, 1]))
    with pytest.raises(DataError, match="label 5 does not fit a model of 4 outputs"):
        row_losses(X, batch)


def test_a_mask_that_is_added_to_attention_scores_is_not_read_the_wrong_way_round():
    added = torch.tensor([[0.0, -torch.inf], [0.0, 0.0]])
    ids = torch.zeros(2, 2, dtype=torch.long)
    with pytest.raises(DataError, match="attention_mask has negative values, as one that is added"):
        as_batch({"input_ids": ids, "attention_mask": added})
    batch = as_batch({"input_ids": ids, "attention_mask": torch.tensor([[1.0, 0.0], [1.0, 1.0]])})
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True, False], [True, True]]


def test_what_a_pair_is_made_of_is_told():
    with pytest.raises(DataError, match="cannot read a batch of type tuple of ndarray, ndarray;"):
        as_batch((X.numpy(), Y.numpy()))
