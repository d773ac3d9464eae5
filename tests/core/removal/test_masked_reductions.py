"""Averages that leave absent nodes out, against the operators on what is left."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nodelens.channels.rules.table import operator_table
from nodelens.removal.absent_nodes import Average
from nodelens.removal.operator_mode import OperatorMode

TABLE = operator_table()
X = torch.randn(3, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
KEPT = torch.tensor([1, 0, 1, 1, 0, 0, 1, 1], dtype=torch.bool)
LAST = X.transpose(1, 2)

OPERATORS = {
    "mean": lambda x: x.mean(1),
    "var": lambda x: x.var(1),
    "std": lambda x: x.std((1, 2), keepdim=True),
    "var_mean": lambda x: torch.stack(torch.var_mean(x, 1, correction=0)),
    "std_mean": lambda x: torch.stack(torch.std_mean(x, 1)),
    "linalg_vector_norm": lambda x: torch.linalg.vector_norm(x, 2, 1),
    "norm": lambda x: torch.ops.aten.norm.ScalarOpt_dim(x, 3, [1], True),
}


def average_of(name, shape, present):
    return Average(TABLE[name].average, shape, present)


@pytest.mark.parametrize("name", OPERATORS)
def test_reductions(name):
    average = average_of(name, tuple(X.shape), {1: KEPT})
    with OperatorMode(False, TABLE, [average]) as mode:
        partial = OPERATORS[name](X)
    assert torch.allclose(partial, OPERATORS[name](X[:, KEPT]), rtol=1e-12)
    assert mode.followed
    assert mode.averages == []


def test_layer_norm_normalises_what_is_present_by_what_is_present():
    weight, bias = torch.randn(2, 8, dtype=torch.float64)
    average = average_of("native_layer_norm", tuple(LAST.shape), {2: KEPT})
    with OperatorMode(False, TABLE, [average]):
        partial = F.layer_norm(LAST, (8,), weight, bias)
    expected = F.layer_norm(LAST[..., KEPT], (5,), weight[KEPT], bias[KEPT])
    assert torch.allclose(partial[..., KEPT], expected, rtol=1e-12)


def test_group_norm_may_lose_a_whole_group():
    kept = torch.tensor([1, 0, 1, 0, 0, 0, 0, 0], dtype=torch.bool)
    average = average_of("native_group_norm", tuple(X.shape), {1: kept})
    with OperatorMode(False, TABLE, [average]):
        partial = F.group_norm(X, 2)
    assert torch.allclose(partial[:, kept], F.group_norm(X[:, kept], 1), rtol=1e-12)
    assert partial.isfinite().all()


@pytest.mark.parametrize("axis", [1, 2])
def test_batch_norm_in_training_normalises_what_is_present(axis):
    kept = KEPT if axis == 1 else torch.tensor([1, 0, 1, 1, 0], dtype=torch.bool)
    weight, bias = torch.randn(2, 8, dtype=torch.float64)
    average = average_of("native_batch_norm", tuple(X.shape), {axis: kept})
    with OperatorMode(False, TABLE, [average]):
        partial = F.batch_norm(X, None, None, weight, bias, training=True)
    if axis == 1:
        expected = F.batch_norm(X[:, kept], None, None, weight[kept], bias[kept], training=True)
        assert torch.allclose(partial[:, kept], expected, rtol=1e-12)
    else:
        expected = F.batch_norm(X[..., kept], None, None, weight, bias, training=True)
        assert torch.allclose(partial[..., kept], expected, rtol=1e-12)


def test_batch_norm_in_evaluation_goes_by_what_it_knows():
    mean, variance = torch.randn(8).double(), torch.rand(8).double() + 0.5
    average = average_of("native_batch_norm", tuple(X.shape), {1: KEPT})
    with OperatorMode(False, TABLE, [average]):
        partial = F.batch_norm(X, mean, variance)
    assert torch.allclose(partial, F.batch_norm(X, mean, variance), rtol=1e-12)


def test_another_order_of_operators_is_noticed():
    with OperatorMode(False, TABLE, [average_of("var", tuple(X.shape), {1: KEPT})]) as mode:
        assert torch.equal(X.mean(1), torch.mean(X, 1))
    assert not mode.followed


@pytest.mark.parametrize(("precise", "dtype"), [(True, torch.float64), (False, torch.float32)])
def test_casts_down_are_left_out_where_precision_is_asked(precise, dtype):
    with OperatorMode(precise, TABLE) as mode:
        assert X.float().dtype == dtype
    assert mode.operators > 0
