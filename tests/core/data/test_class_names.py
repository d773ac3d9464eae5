"""The order of class names and the numbers that a model's outputs give them."""

from __future__ import annotations

import pytest
import torch

from nodelens.data.class_names import ordered, renumbered
from nodelens.data.splits import Splits
from nodelens.errors import ModelError
from nodelens.interfaces.dataset import Samples


def test_integers_are_ordered_by_value():
    assert ordered(["10", "2", "0", "2", "-1"]) == ("-1", "0", "2", "10")
    assert ordered(["10", "2", "b"]) == ("10", "2", "b")
    assert ordered(["10", "02"]) == ("02", "10")


def test_positions_without_a_label_keep_none():
    made = Samples(torch.zeros(2, 2), torch.tensor([[0, -100], [1, 0]]))
    splits = Splits(made, made.take(slice(0)), made, ("a", "b"), None)
    found = renumbered(splits, ("c", "b", "a", "d"), "a model")
    assert found.train.targets.tolist() == [[2, -100], [1, 2]]
    assert found.classes == ("c", "b", "a")
    with pytest.raises(ModelError, match="a model has no output for the classes b"):
        renumbered(splits, ("a",), "a model")
