from __future__ import annotations

import pytest
import torch

from nodelens.capture.batches import Batch, as_batch
from nodelens.capture.losses import logits_of
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
