"""Modules that are called several times: every call is read, or it is said which is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.statistics.block_change import BlockSimilarity
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments
from nodelens.statistics.weight_gradients import WeightGradients

G = torch.Generator().manual_seed(5)
X = torch.randn(9, 4, dtype=torch.float64, generator=G)
Y = torch.arange(9) % 3


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 5), nn.Linear(5, 6)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class Repeated(nn.Module):
    """Calls one block three times, as models that share their layers do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.block, self.head = nn.Linear(4, 6), Block(), nn.Linear(6, 3)

    def forward(self, x):
        x = self.a(x)
        for _ in range(3):
            x = self.block(x)
        return self.head(x)


@pytest.fixture
def model():
    return Repeated().double()


def seen(model, name):
    """Return what a module reads and returns, call by call, with gradients kept."""
    calls = []

    def hook(module, args, output):
        if output.requires_grad:
            output.retain_grad()
        calls.append((args[0], output))

    handle = model.get_submodule(name).register_forward_hook(hook)
    loss = F.cross_entropy(model(X), Y, reduction="sum")
    if loss.requires_grad:
        loss.backward()
    handle.remove()
    return calls


def test_inputs_of_every_call_are_read(model, capture_of, summary):
    got = capture_of(model, [(X[:5], Y[:5]), (X[5:], Y[5:])], (Gram(reads="input"),))
    stored = torch.cat([read.detach() for read, _ in seen(model, "block.up")])
    found = summary(got, "block.up (input)", Gram(reads="input"))
    assert int(found.count) == 27
    torch.testing.assert_close(found.covariance, torch.cov(stored.T, correction=0))


def test_the_gradient_of_a_shared_weight_is_the_sum_over_its_calls(model, capture_of, summary):
    got = capture_of(model, [(X[:5], Y[:5]), (X[5:], Y[5:])], (WeightGradients(),))
    calls = seen(model, "block.down")
    rows = sum(torch.einsum("no,ni->noi", written.grad, read.detach()) for read, written in calls)
    found = summary(got, "block.down (weight)", WeightGradients())
    torch.testing.assert_close(found.mean, rows.mean(0))
    torch.testing.assert_close(found.mean_square, rows.square().mean(0))
    assert int(found.rows) == 9


def test_a_block_is_compared_at_every_call(model, capture_of, summary):
    got = capture_of(model, [(X, Y)], (BlockSimilarity(),))
    calls = seen(model, "block")
    cosine = torch.cat([F.cosine_similarity(read, written) for read, written in calls])
    found = summary(got, "block (block)", BlockSimilarity())
    assert int(found.count) == 27
    torch.testing.assert_close(found.cosine, cosine.detach().mean())


class Shorter(Repeated):
    """Calls the block once less where it is given more than four rows."""

    def forward(self, x):
        x = self.a(x)
        for _ in range(3 - (len(x) > 4)):
            x = self.block(x)
        return self.head(x)


def test_calls_that_a_batch_does_not_have_are_not_left_out_in_silence(capture_of, lost):
    model = Shorter().double()
    whole = capture_of(model, [(X[:3], Y[:3])], (Moments(),))
    assert not lost(whole)
    found = capture_of(model, [(X[:3], Y[:3]), (X[3:], Y[3:])], (Moments(),), X[:2])
    for group in ("a:residual", "block.up:neurons"):
        assert "was called less often in batch 2 than on the example" in lost(found)[group]


class Longer(Repeated):
    """Calls the block once more where it is given more than four rows."""

    def forward(self, x):
        x = self.a(x)
        for _ in range(3 + (len(x) > 4)):
            x = self.block(x)
        return self.head(x)


def test_calls_that_the_example_does_not_have_are_not_left_out_in_silence(capture_of, lost):
    model = Longer().double()
    capture_of(model, [(X[:3], Y[:3])], (Moments(),))
    found = capture_of(model, [(X[:3], Y[:3]), (X[3:], Y[3:])], (Moments(),), X[:2])
    assert lost(found)["block.up:neurons"] == (
        "block.down was called more often than on the example (3 times), and what it "
        "reads then would be left out; give batches and an example on which the model takes the "
        "same path, such as rows padded to one length"
    )


def test_fewer_calls_are_counted(capture_of):
    class Shorter(Repeated):
        def forward(self, x):
            x = self.a(x)
            for _ in range(3 - (len(x) > 4)):
                x = self.block(x)
            return self.head(x)

    got = capture_of(Shorter().double(), [(X[:3], Y[:3]), (X[3:], Y[3:])], (Moments(),), X[:2])
    assert sorted({count for name, count in got.fired.items() if "up (input)" in name}) == [5]


class Undecided(Longer):
    """Cannot be traced: how often it calls its block depends on what it reads."""

    def forward(self, x):
        x = self.a(x)
        for _ in range(1 + int((x[:, 0] > 0).sum().item() > 1) + (len(x) > 4)):
            x = self.block(x)
        return self.head(x) if bool(x.sum() < 1e9) else x.nonzero()


def test_calls_of_a_model_that_cannot_be_traced_are_counted_and_told(caplog):
    from nodelens.channels.untraced import plain_groups

    model = Undecided().double()
    graph = plain_groups(model, (X[:2],), {}, "depends on the data")
    assert graph.calls["block.up"] >= 1
    from nodelens.capture.engine import run_capture
    from nodelens.capture.plan.planning import make_plan
    from nodelens.capture.request import CaptureRequest
    from nodelens.experiments.capture_record import capture_findings, capture_json

    plan = make_plan(graph, [SimpleNamespace(statistics=(Moments(),))], model=model)
    got = run_capture(CaptureRequest(model, graph, [(X, Y)] * 2, plan, torch.device("cpu")))
    extra = got.counts.beyond["block.up"]
    assert extra > 0
    assert capture_json(got)["calls_not_read"]["block.up"] == extra
    (finding,) = capture_findings(got)
    assert f"{extra} calls of block.up came after the last one that the example has" in (
        "\n".join(finding.warnings)
    )


def test_scores_of_shared_layers_are_about_all_calls(model):
    scores = nodelens.score(model, [(X, Y)], ["activation_rms"])
    with torch.no_grad():
        reads = [F.relu(model.block.up(read)) for read, _ in seen(model, "block.up")]
    expected = torch.cat(reads).square().mean(0).sqrt()
    found = torch.from_numpy(scores["activation_rms", "block.up:neurons"].values)
    torch.testing.assert_close(found, expected)
