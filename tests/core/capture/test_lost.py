"""One failure ends one thing: what cannot be read is left out with its reason, the rest goes on."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from attrs import frozen
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.capture.counts import Counts
from nodelens.errors import CaptureError
from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.moments import Moments

FORWARD = ["activation_rms", "weight_l1"]
GRADED = ["taylor", "loss_proxy"]


class OneHot(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(10, 8), nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(F.gelu(self.embed(F.one_hot(tokens, 10).float()).mean(1)))


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc = nn.Parameter(torch.randn(10, 8)), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(F.gelu(self.fc(self.table[tokens]).mean(1)))


class Multiplied(Table):
    """The table meets a weight that no module's input shows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, tokens):
        return self.head(F.gelu(self.fc(torch.relu(self.table[tokens] @ self.weight)).mean(1)))


class Picked(nn.Module):
    """Tokens that are chosen by their values have no samples."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.up = nn.Embedding(10, 8), nn.Linear(8, 6)
        self.down, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, tokens):
        first = torch.relu(self.up(self.embed(tokens))).mean(1)
        order = first.detach().sum(1).argsort()
        return self.head(torch.relu(self.down(first[order])))[order.argsort()]


class Undifferentiable(nn.Module):
    """Has an operation whose backward pass fails, before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.up, self.head = nn.Embedding(10, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, tokens):
        hidden = torch.relu(self.up(self.embed(tokens)))
        return self.head(Failing.apply(hidden).mean(1))


class Failing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("no derivative")


def batches(count: int = 4):
    torch.manual_seed(0)
    return [(torch.randint(0, 10, (16, 5)), torch.randint(0, 3, (16,))) for _ in range(count)]


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


@pytest.mark.parametrize("kind", [OneHot, Table])
def test_gradients_begin_where_a_model_makes_its_input_of_constants(kind):
    scores = nodelens.score(made(kind), batches(), [*FORWARD, *GRADED], folds=2)
    for metric in (*FORWARD, *GRADED):
        assert set(scores.of(metric)) == set(scores.groups), scores.skipped


def test_the_gradient_at_a_table_is_that_of_an_embedding():
    class Embedded(Table):
        def forward(self, tokens):
            return self.head(F.gelu(self.fc(F.embedding(tokens, self.table)).mean(1)))

    class Looked(Embedded):
        def __init__(self) -> None:
            super().__init__()
            self.looked = nn.Embedding(10, 8)
            self.looked.weight, self.table = self.table, None

        def forward(self, tokens):
            return self.head(F.gelu(self.fc(self.looked(tokens)).mean(1)))

    one = nodelens.score(made(Table), batches(), GRADED, folds=2)
    other = nodelens.score(made(Looked), batches(), GRADED, folds=2)
    for metric in GRADED:
        (a, b), (c, d) = one.of(metric).values(), other.of(metric).values()
        torch.testing.assert_close(torch.tensor(a.values), torch.tensor(c.values))
        torch.testing.assert_close(torch.tensor(b.values), torch.tensor(d.values))


def test_forward_metrics_go_on_where_no_gradient_arrives():
    scores = nodelens.score(made(Multiplied), batches(), [*FORWARD, "taylor"], folds=2)
    lost = {group for metric, group in scores.skipped if metric == "taylor"}
    assert lost
    assert any("no gradient reaches it" in reason for reason in scores.skipped.values())
    for metric in FORWARD:
        assert set(scores.of("taylor")) < set(scores.of(metric))
    assert scores.of("taylor")
    assert not scores.failed


def test_forward_metrics_go_on_where_the_backward_pass_fails():
    scores = nodelens.score(made(Undifferentiable), batches(), [*FORWARD, "taylor"], folds=2)
    assert set(scores.of("taylor")) == {"up:neurons"}
    assert "the backward pass failed: no derivative" in scores.skipped["taylor", "embed:neurons"]
    for metric in FORWARD:
        assert set(scores.of(metric)) == {"embed:neurons", "up:neurons"}


def test_nothing_scored_is_an_error_with_the_reason():
    def detached(output, batch):
        return output.detach().sum(1)

    with pytest.raises(CaptureError, match="nothing could be scored: the loss has no gradient"):
        nodelens.score(made(OneHot), batches(), ["taylor"], folds=2, loss=detached)


def test_samples_that_change_places_leave_one_group_out_of_scores_from_data():
    scores = nodelens.score(made(Picked), batches(), [*FORWARD, "taylor"], folds=2)
    assert set(scores.of("weight_l1")) == {"embed:neurons", "up:neurons", "down:neurons"}
    for metric in ("activation_rms", "taylor"):
        assert set(scores.of(metric)) == {"embed:neurons"}
        reason = scores.skipped[metric, "down:neurons"]
        assert reason.startswith("head (input): the samples cannot be distinguished there")


class Sometimes(OneHot):
    """Takes its last layer twice where a batch has a certain token."""

    def __init__(self) -> None:
        super().__init__()
        self.again, self.last = nn.Linear(8, 8), nn.Linear(3, 3)

    def forward(self, tokens):
        hidden = F.gelu(self.embed(F.one_hot(tokens, 10).float()).mean(1))
        if len(tokens) < 16:
            hidden = self.again(self.again(hidden))
        return self.head(self.again(hidden))


def test_a_path_that_the_example_does_not_take_leaves_one_layer_out():
    found = batches()
    found[-1] = tuple(each[:7] for each in found[-1])
    scores = nodelens.score(made(Sometimes), found, FORWARD, folds=2)
    assert "again was called more often" in scores.skipped["activation_rms", "embed:neurons"]
    assert ("activation_rms", "again:neurons") in scores
    assert ("weight_l1", "embed:neurons") in scores


@frozen
class Refusing:
    """A statistic whose code raises at the second batch."""

    reads: ClassVar[str] = "activation"
    requires: ClassVar[frozenset[str]] = frozenset()

    def floats(self, layout) -> int:
        return layout.folds

    def start(self, layout):
        return {"seen": torch.zeros(layout.folds)}

    def update(self, state, reading) -> None:
        if state["seen"].sum():
            raise ZeroDivisionError("on purpose")
        state["seen"] += 1

    def merge(self, state, other) -> None:
        state["seen"] += other["seen"]

    def summary(self, state, keep):
        return state["seen"]


@frozen
class Broken:
    """Reads a statistic that fails."""

    info = MetricInfo(formula="x", unit="1", higher_is_better=True)
    statistics = (Refusing(),)

    def score(self, group):
        return group[Refusing()]


def test_a_statistic_whose_code_raises_fails_its_metric_alone():
    scores = nodelens.score(made(OneHot), batches(), ["activation_rms", Broken()], folds=2)
    assert scores.metrics == ("activation_rms",)
    assert scores.failed["Broken"].startswith("embed:neurons: CaptureError: Refusing(")
    assert scores.failed["Broken"].endswith("ZeroDivisionError: on purpose")


def test_what_was_lost_survives_a_checkpoint():
    counts = Counts()
    counts.lose("a:neurons", [Moments()], "it was never read")
    counts.fail("b:neurons", Moments(), ValueError("wrong"))
    again = Counts.of_json(counts.as_json())
    assert again.as_json() == counts.as_json()
    assert again.reason("a:neurons", Moments()) == "it was never read"
    assert "ValueError: wrong" in again.reason("b:neurons", Moments())
    assert not again.reason("b:neurons", Moments(reads="preactivation"))
