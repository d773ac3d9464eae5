"""The figure of which group feeds which."""

from __future__ import annotations

import torch
from torch import nn

from nodelens.channels.infer import infer
from nodelens.reports.group_figure import edges, layers, write_group_figure


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Linear(3, 6), nn.Linear(6, 5)
        self.outer, self.head = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.outer(self.inner(x).relu()))


GRAPH = infer(Residual(), torch.zeros(4, 3))
STREAM, INNER, HEAD, INPUTS = (group.name for group in GRAPH)


def test_edges_follow_the_weights_that_read_one_group_and_write_another():
    assert set(edges(GRAPH)) == {
        (INPUTS, STREAM),
        (INNER, STREAM),
        (STREAM, INNER),
        (STREAM, HEAD),
    }


def test_layers_ignore_edges_that_lead_back():
    assert layers(GRAPH) == {STREAM: 0, INNER: 1, HEAD: 1, INPUTS: 0}


def test_every_format_is_written(tmp_path):
    for kind, start in {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}.items():
        path = tmp_path / f"groups.{kind}"
        write_group_figure(GRAPH, path)
        assert path.read_bytes().startswith(start)
