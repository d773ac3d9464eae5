"""What a model does in training only counts too; what it does there at random does not matter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.graph import infer


class Branch(nn.Module):
    """Does something to hidden nodes, in training only."""

    def __init__(self, extra):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(9, 10), nn.Linear(10, 10), nn.Linear(10, 3)
        self.extra = extra

    def forward(self, x):
        x = F.relu(self.a(x))
        y = F.relu(self.b(x))
        if self.training:
            x, y = self.extra(x, y)
        return self.c(y)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (lambda x, y: (x, y.softmax(-1)), "softmax along it in the model (in training)"),
        (lambda x, y: (x, y.flip(-1)), "indices change place (flip) in the model (in training)"),
        (
            lambda x, y: (x, y @ torch.linalg.inv(torch.eye(10) + y.T @ y)),
            "unknown operator aten.linalg_inv_ex.default in the model (in training)",
        ),
        (lambda x, y: (x, F.dropout(y, 0.5)), None),
        (lambda x, y: (x, F.feature_alpha_dropout(y, 0.5)), None),
        (lambda x, y: (x, y * torch.empty(len(y), 1).bernoulli_(0.5)), None),
    ],
)
def test_a_branch_on_training_freezes_what_it_mixes(extra, reason):
    graph = infer(Branch(extra), torch.zeros(5, 9))
    assert graph["b:neurons"].frozen == reason
    assert graph["a:neurons"].prunable
    assert not graph.note


def test_a_sum_in_training_makes_two_groups_one():
    graph = infer(Branch(lambda x, y: (x, x + y)), torch.zeros(5, 9))
    assert [group.width for group in graph if group.prunable] == [10]
    written = {
        part.parameter for group in graph if group.prunable for part in group.role("producer")
    }
    assert written == {"a.weight", "b.weight"}


def test_an_average_in_training_marks_the_nodes_as_normalised():
    graph = infer(Branch(lambda x, y: (x, y - y.mean(-1, keepdim=True))), torch.zeros(5, 9))
    assert graph["b:neurons"].normalised
    assert not graph["a:neurons"].normalised


def test_training_that_cannot_be_traced_is_noted_and_evaluation_kept():
    def breaks(x, y):
        raise ValueError("labels are missing")

    graph = infer(Branch(breaks), torch.zeros(5, 9))
    assert graph.traced
    assert graph.note == (
        "training could not be traced (ValueError: labels are missing): what the model does only "
        "there is not known"
    )
    assert [group.name for group in graph if group.prunable] == ["a:neurons", "b:neurons"]


def test_batch_norm_in_training_changes_nothing():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(), nn.Conv2d(6, 4, 3)
    )
    graph = infer(model, torch.zeros(2, 3, 9, 9))
    assert [(group.name, group.normalised) for group in graph if group.prunable] == [
        ("0:channels", False)
    ]


def test_a_layer_dropped_at_random_is_traced_on_the_example():
    class Drops(Branch):
        def forward(self, x):
            x = F.relu(self.a(x))
            if not self.training or torch.rand(()).item() < 2:
                x = F.relu(self.b(x))
            return self.c(x)

    model = Drops(None)
    state = torch.random.get_rng_state()
    graph = infer(model, torch.zeros(5, 9))
    assert not graph.note
    assert [group.name for group in graph if group.prunable] == ["a:neurons", "b:neurons"]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_square_weight_keeps_its_roles_through_both_passes():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(9, 6), nn.Linear(6, 2)
            self.step = nn.Linear(6, 6)

        def forward(self, x):
            x = self.a(x)
            for _ in range(4):
                x = F.relu(self.step(x))
            return self.c(x)

    group = infer(Loop(), torch.zeros(5, 9))["a:residual"]
    roles = [(p.axis, p.role) for p in group.slices if p.parameter == "step.weight"]
    assert roles == [(0, "producer"), (1, "consumer")]


class ShuffleUnits(nn.Module):
    """Units as in ShuffleNet V2: half of the channels pass by, and both halves are shuffled."""

    def __init__(self):
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        self.units = nn.ModuleList([nn.Conv2d(4, 4, 1) for _ in range(2)])

    def forward(self, x):
        h = self.stem(x)
        for unit in self.units:
            left, right = h.chunk(2, 1)
            h = (
                torch.cat([left, unit(right)], 1)
                .unflatten(1, (2, -1))
                .transpose(1, 2)
                .flatten(1, 2)
            )
        return self.last(h)


def test_segments_of_the_first_pass_are_found_again_in_training():
    torch.manual_seed(0)
    model, x = ShuffleUnits().eval(), torch.randn(2, 3, 4, 4)
    graph = infer(model, x)
    halves = [group for group in graph if group.name.startswith("stem:channels")]
    assert [(group.width, group.frozen) for group in halves] == [(2, None), (2, None), (4, None)]
    keep = {"stem:channels": [0], "stem:channels:2": [1], "stem:channels:3": [0, 2]}
    verdicts = graph.remove(model, keep, x).verdicts
    assert [verdict.status for verdict in verdicts] == ["exact", "exact", "exact"]
