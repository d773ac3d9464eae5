"""Constants in the place of random draws, operator by operator."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nodelens.channels.rules.table import operator_table
from nodelens.removal.operator_mode import OperatorMode

TABLE = operator_table()
X = torch.linspace(-1, 1, 12).view(3, 4)

CALLS = {
    "dropout": (lambda: F.dropout(X, 0.5), 2 * X),
    "native dropout": (lambda: torch.native_dropout(X, 0.5, True)[0], X),
    "rand": (lambda: torch.rand(2, 3), torch.full((2, 3), 0.5)),
    "randn_like": (lambda: torch.randn_like(X), torch.full((3, 4), 0.5)),
    "uniform": (lambda: torch.empty(2).uniform_(1, 3), torch.full((2,), 2.0)),
    "normal": (lambda: torch.empty(2).normal_(1, 3), torch.full((2,), 2.5)),
    "exponential": (lambda: torch.empty(2).exponential_(2), torch.full((2,), 0.25)),
    "bernoulli": (lambda: torch.bernoulli(torch.tensor([0.2, 0.7])), torch.tensor([0.0, 1.0])),
    "bernoulli of one chance": (lambda: torch.bernoulli(X, 0.1), torch.ones(3, 4)),
    "bernoulli in place": (lambda: torch.empty(2).bernoulli_(0.1), torch.ones(2)),
    "bernoulli by a tensor": (
        lambda: torch.empty(2).bernoulli_(torch.tensor([0.2, 0.7])),
        torch.tensor([0.0, 1.0]),
    ),
    "random slopes": (lambda: F.rrelu(X, 0.2, 0.4, training=True), F.leaky_relu(X, 0.3)),
}


@pytest.mark.parametrize("name", CALLS)
def test_draws_are_constants_and_use_nothing_up(name):
    call, expected = CALLS[name]
    state = torch.random.get_rng_state()
    with OperatorMode(False, TABLE):
        found = call()
    assert torch.allclose(found, expected)
    assert torch.equal(state, torch.random.get_rng_state())


def test_attention_drops_nothing():
    q = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    with OperatorMode(False, TABLE):
        found = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
        (again,) = {F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)}
    assert torch.equal(found, again)


@pytest.mark.parametrize(("width", "same"), [(4, True), (5, False)])
def test_calls_tell_sizes_apart(width, same):
    modes = [OperatorMode(False, TABLE), OperatorMode(False, TABLE)]
    for mode, size in zip(modes, (4, width), strict=True):
        with mode:
            torch.ones(3, size).sum(1)
    assert (modes[0].calls == modes[1].calls) is same
