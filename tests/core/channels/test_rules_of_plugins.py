from __future__ import annotations

import torch
from torch import nn

from nodelens.channels.infer import infer
from nodelens.channels.rules.arithmetic import pointwise


class Sorted(nn.Module):
    """Uses an operator of its own, which no rule of the core knows."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.b(torch.ops.nodelens_tests.twice(self.a(x)))


@torch.library.custom_op("nodelens_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@twice.register_fake
def _(x):
    return torch.empty_like(x)


def test_an_operator_of_ones_own_freezes_what_it_touches_until_a_rule_is_given():
    x = torch.zeros(5, 4)
    frozen = infer(Sorted(), x)["a:neurons"].frozen
    assert frozen is not None
    assert "nodelens_tests" in frozen
    graph = infer(Sorted(), x, rules={"nodelens_tests::twice": pointwise})
    assert graph["a:neurons"].prunable
    assert not graph.unknown_operators
