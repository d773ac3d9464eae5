"""Gradients at real gates that multiply what a node's consumers read, one row at a time."""

import pytest
import torch
from tests.metrics.networks import Convolutional, Perceptron, batches, data, made
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.capture.losses import row_losses


class Gated(nn.Module):
    """Tokens that see all earlier ones, and a gated feed-forward layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.gate, self.up = (nn.Linear(6, 8, bias=False) for _ in range(2))
        self.down, self.head = nn.Linear(8, 6, bias=False), nn.Linear(6, 11)

    def forward(self, input_ids, attention_mask=None):
        x = self.embed(input_ids).cumsum(1) / 3
        for _ in range(2):
            x = x + self.down(F.silu(self.gate(x)) * self.up(x))
        return self.head(x)


def texts(side):
    """Return a batch of six padded texts of five tokens, one of their labels left out."""
    ids = torch.arange(30).reshape(6, 5) * 7 % 11
    place = torch.arange(5) if side == "right" else 4 - torch.arange(5)
    mask = place < torch.tensor([5, 3, 4, 5, 2, 5]).unsqueeze(1)
    labels = ((ids + 1) % 11).masked_fill(~mask, -100)
    labels[0, 3] = -100
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}


class Residual(nn.Module):
    """A stream that layers read and write, and that is overwritten in place or not."""

    def __init__(self, in_place=False):
        super().__init__()
        self.first, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.up, self.down = nn.Linear(6, 5), nn.Linear(5, 6)
        self.in_place = in_place

    def forward(self, x):
        x = self.first(x)
        y = self.down(torch.tanh(self.up(x)))
        return self.head(x.add_(y) if self.in_place else x + y)


class InPlace(Residual):
    def __init__(self):
        super().__init__(in_place=True)


CASES = {
    "perceptron": (Perceptron, batches(*data(9, 4), (4, 1))),
    "residual stream": (Residual, batches(*data(9, 4), (4, 1))),
    "residual stream in place": (InPlace, batches(*data(9, 4), (4, 1))),
    "convolution": (Convolutional, batches(*data(9, 2, 3, 3), (4, 1))),
    "padded right": (Gated, [texts("right")]),
    "padded left": (Gated, [texts("left")]),
}


@pytest.fixture(params=CASES)
def case(request):
    """Return a network, batches, the groups that one kind of layer reads, and single rows."""
    kind, given = CASES[request.param]
    net, rows = made(kind), []
    for batch in given:
        value = nodelens.capture.batches.as_batch(batch)
        rows += [value.rows_where(torch.arange(value.rows) == row) for row in range(value.rows)]
    graph = nodelens.infer(net, *rows[0].args, **rows[0].kwargs)
    return net, given, [group for group in graph if group.at("activation")], rows


def at_gates(net, group, batch, loss, gates):
    """Return the gradient of the loss at gates that multiply what all consumers of nodes read."""
    hooks = []
    for part in group.role("consumer"):
        node = torch.empty(part.extent.width * part.extent.inner, dtype=torch.int64)
        for number, owned in enumerate(part.extent.indices()):
            node[owned] = number

        def gated(module, args, node=node):
            axis = 1 if args[0].ndim == 4 else -1
            spread = gates[..., node]
            return (args[0].clone() * (spread[..., None, None] if axis == 1 else spread),)

        module = net.get_submodule(part.parameter.rpartition(".")[0])
        hooks.append(module.register_forward_pre_hook(gated))
    total = loss(batch.call(net), batch).sum()
    for hook in hooks:
        hook.remove()
    return torch.autograd.grad(total, gates)[0]


def rows_at_gates(net, group, rows, loss=row_losses):
    """Return Q of every row, ``(rows, nodes)``."""
    return torch.stack(
        [
            at_gates(net, group, row, loss, torch.ones(group.width).double().requires_grad_())
            for row in rows
        ]
    )


def test_scores_of_rows_are_those_of_gates(case):
    """Also of a stream: what one reader lets pass is not counted again at the next."""
    net, given, groups, rows = case
    names = ["taylor", "first_order", "attribution_patching", "snip", "sample_fisher"]
    scores = nodelens.score(net, given, [*names, "empirical_fisher"])
    for group in groups:
        q = rows_at_gates(net, group, rows)
        expected = {
            "taylor": q.square().mean(0),
            "first_order": -q.mean(0),
            "attribution_patching": q.abs().mean(0),
            "snip": q.mean(0).abs(),
            "sample_fisher": 0.5 * q.square().mean(0),
            "empirical_fisher": q.square().mean(0),
        }
        for name, value in expected.items():
            found = torch.as_tensor(scores[name, group.name].values)
            torch.testing.assert_close(found, value)


@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_of_positions_are_those_of_gates_at_every_token(side):
    net, batch = made(Once), texts(side)
    value = nodelens.capture.batches.as_batch(batch)
    graph = nodelens.infer(net, **value.kwargs)
    group = next(each for each in graph if each.name.startswith("gate"))
    q = at_gates(net, group, value, row_losses, torch.ones(6, 5, 8).double().requires_grad_())
    q = q[value.mask]
    scores = nodelens.score(net, [batch], ["loss_proxy", "token_taylor"])
    expected = {"loss_proxy": 0.5 * q.square().mean(0), "token_taylor": q.abs().mean(0)}
    for name, each in expected.items():
        torch.testing.assert_close(torch.as_tensor(scores[name, group.name].values), each)


class Once(Gated):
    def forward(self, input_ids, attention_mask=None):
        x = self.embed(input_ids).cumsum(1) / 3
        return self.head(x + self.down(F.silu(self.gate(x)) * self.up(x)))


def test_the_fisher_of_drawn_labels_is_the_expectation_over_all_labels():
    net, (x, _) = made(Perceptron), data(5, 4)
    repeated = x.repeat(240, 1)
    group = next(iter(nodelens.infer(net, x)))
    p, exact = net(x).softmax(-1).detach(), 0.0
    for label in range(3):
        drawn = nodelens.capture.batches.as_batch((x, torch.full((5,), label)))
        rows = [drawn.rows_where(torch.arange(5) == row) for row in range(5)]
        exact = exact + (p[:, label, None] * rows_at_gates(net, group, rows).square()).mean(0)
    labels = torch.zeros(len(repeated), dtype=torch.int64)
    for metrics in (["true_fisher"], [{"name": "true_fisher", "per": "position"}]):
        scores = nodelens.score(net, batches(repeated, labels, (400,)), metrics)
        found = scores["true_fisher", group.name]
        error = (torch.as_tensor(found.values) - exact).abs()
        assert (error <= 5 * torch.as_tensor(found.se)).all()
        assert (torch.as_tensor(found.se) < 0.1 * exact.max()).all()
