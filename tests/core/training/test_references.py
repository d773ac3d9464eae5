"""Evaluation of models without predictions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nodelens.capture.batches import Batch
from nodelens.errors import ModelError
from nodelens.training.model_evaluation import evaluate
from nodelens.training.references import DISTANCE, vectors_of, with_references


class Output(dict):
    """An output whose first item are vectors."""

    __getattr__ = dict.get


def test_vectors_are_found_in_outputs_of_every_kind():
    states = torch.randn(2, 3, 4)
    for output in (states, (states, None), Output(last_hidden_state=states), {"x": states}):
        assert torch.equal(vectors_of(output), states)
    assert vectors_of(torch.randn(2, 5)).shape == (2, 1, 5)
    assert vectors_of(torch.randn(2, 5, 3, 4)).shape == (2, 12, 5)


@pytest.mark.parametrize("output", ["text", (), torch.tensor([1, 2]), {"x": 1}, torch.ones(3)])
def test_outputs_without_vectors_are_refused(output):
    with pytest.raises(ModelError, match="without logits and without vectors"):
        vectors_of(output)


def test_the_distance_is_one_minus_the_cosine_of_positions_that_count():
    torch.manual_seed(0)
    model, inputs = nn.Linear(4, 6), torch.randn(3, 5, 4)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 2:] = False
    (batch,) = with_references(model, [Batch((inputs,), mask=mask)])
    assert evaluate(model, [batch]).loss == pytest.approx(0.0, abs=1e-12)
    before = model(inputs)
    with torch.no_grad():
        model.weight[2] = 0.0
    found = evaluate(model, [batch])
    cosine = torch.nn.functional.cosine_similarity(model(inputs), before, dim=-1)
    expected = (1 - cosine)[mask].mean().item()
    assert found.loss == pytest.approx(expected, rel=1e-5)
    assert found.counts.tolist() == [5, 2, 5]
    assert (found.unit, found.accuracy, found.words) == (DISTANCE, None, False)


def test_outputs_of_another_shape_cannot_be_compared():
    inputs = torch.randn(3, 4)
    (batch,) = with_references(nn.Linear(4, 6), [Batch((inputs,))])
    with pytest.raises(ModelError, match="cannot be compared with references"):
        evaluate(nn.Linear(4, 5), [batch])
