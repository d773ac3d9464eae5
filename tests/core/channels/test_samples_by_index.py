"""Samples that are picked by index: where they keep their axis, and where that is unknown."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nodelens
from nodelens.channels.groups import Rows

Pick = Callable[[Tensor, Tensor, Tensor], Tensor]
KEPT: dict[str, Pick] = {
    "last": lambda h, n, x: h[torch.arange(len(h)), n],
    "last, on a device": lambda h, n, x: h[torch.arange(0, h.shape[0], device=h.device), n],
    "last, by a range": lambda h, n, x: h[range(len(h)), n],
    "last, by a list": lambda h, n, x: h[list(range(len(h))), n],
    "two of each": lambda h, n, x: h[torch.arange(len(h))[:, None], torch.stack([n, n - 1], 1)],
    "tokens first": lambda h, n, x: h.transpose(0, 1)[n, torch.arange(len(h)).to(torch.int32)],
    "largest token": lambda h, n, x: h[torch.arange(len(h)), x.to(torch.int).argmax(-1)],
    "end of text": lambda h, n, x: h[torch.arange(len(h)), (x == 3).int().argmax(-1)],
    "gathered": lambda h, n, x: h.gather(1, n.view(-1, 1, 1).expand(-1, 1, h.shape[2]))[:, 0],
    "along a dim": lambda h, n, x: torch.take_along_dim(h, n[:, None, None], 1)[:, 0],
    "masked mean": lambda h, n, x: torch.where(
        (torch.arange(7)[None] < n[:, None])[..., None], h, 0
    ).sum(1),
}
UNKNOWN: dict[str, Pick] = {
    "reversed": lambda h, n, x: h[torch.arange(len(h)).flip(0), n],
    "shifted": lambda h, n, x: h[(torch.arange(len(h)) + 1) % len(h), n],
    "changed in place": lambda h, n, x: h[torch.arange(len(h)).sub_(1), n],
    "a list out of order": lambda h, n, x: h[[1, 0, 2, 3, 4], n],
    "some of them": lambda h, n, x: h[torch.arange(len(h) - 1), n[1:]],
    "masked": lambda h, n, x: h[torch.arange(7)[None] <= n[:, None]],
}


class Pooled(nn.Module):
    def __init__(self, pick: Pick) -> None:
        super().__init__()
        self.pick = pick
        self.embed, self.up = nn.Embedding(30, 8), nn.Linear(8, 6)
        self.down, self.head = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, tokens: Tensor, last: Tensor) -> Tensor:
        found = self.pick(torch.relu(self.up(self.embed(tokens))), last, tokens)
        return self.head(torch.relu(self.down(found)))


def example(rows: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randint(0, 30, (rows, 7)), torch.randint(1, 7, (rows,))


@pytest.mark.parametrize("pick", KEPT)
def test_samples_that_are_picked_in_order_keep_their_axis(pick):
    graph = nodelens.infer(Pooled(KEPT[pick]).eval(), *example())
    for name in ("up:neurons", "down:neurons"):
        assert [site.rows for site in graph[name].at("activation")] == [Rows(0)]


@pytest.mark.parametrize("pick", UNKNOWN)
def test_samples_that_are_picked_in_another_order_are_unknown(pick):
    graph = nodelens.infer(Pooled(UNKNOWN[pick]).eval(), *example())
    for name in ("up:neurons", "down:neurons"):
        assert [site.rows for site in graph[name].at("activation")] == [None]
