"""Scores of weights against gradients of single rows by autograd."""

import pytest
import torch
from tests.metrics.networks import Attention, Convolutional, Perceptron, batches, data, made
from torch.nn import functional as F

import nodelens
from nodelens_metrics.gradients.weight_gradients import (
    LLMPrunerElement,
    LLMPrunerVector,
    TaylorWeights,
)

NETWORKS = {Perceptron: (9, 4), Convolutional: (9, 2, 3, 3)}


@pytest.fixture(params=NETWORKS, ids=lambda kind: kind.__name__)
def case(request):
    """Return a network, its data, and dL_n/dθ of every row by parameter, ``(rows, …)``."""
    net = made(request.param)
    x, y = data(*NETWORKS[request.param])
    rows = []
    for row in range(len(x)):
        loss = F.cross_entropy(net(x[row : row + 1]), y[row : row + 1])
        rows.append(torch.autograd.grad(loss, [*net.parameters()]))
    names = [name for name, _ in net.named_parameters()]
    stacked = [torch.stack(parts) for parts in zip(*rows, strict=True)]
    return net, (x, y), dict(zip(names, stacked, strict=True))


def slices_of(case, group):
    """Return weight and gradients of each slice: ``(nodes, k)`` and ``(rows, nodes, k)``."""
    net, _, gradients = case
    parameters = dict(net.named_parameters())
    for role in ("producer", "consumer"):
        for part in group.role(role):
            own = part.extent.nodes_first
            rows = torch.stack([own(g, part.axis) for g in gradients[part.parameter]])
            yield own(parameters[part.parameter].detach(), part.axis), rows


def scored(case, metric):
    net, (x, y), _ = case
    graph = nodelens.infer(net, x)
    scores = nodelens.score(net, batches(x, y, (4, 1)), [metric])
    assert not scores.failed and len(scores)
    return [(graph[score.group], torch.as_tensor(score.values)) for score in scores]


ORDERS = {
    "first": lambda w, g: (w * g.mean(0)).abs().sum(1),
    "second": lambda w, g: (w.square() * g.square().mean(0)).sum(1),
    "mix": lambda w, g: (w * g.mean(0) - 0.5 * w.square() * g.square().mean(0)).abs().sum(1),
}
AGGREGATES = {
    "sum": lambda parts: parts.sum(0),
    "prod": lambda parts: parts.prod(0),
    "max": lambda parts: parts.amax(0),
    "last": lambda parts: parts[-1],
}


@pytest.mark.parametrize("order", ORDERS)
def test_element_scores_are_those_of_single_weights(case, order):
    for group, found in scored(case, LLMPrunerElement(order)):
        expected = sum(ORDERS[order](w, g) for w, g in slices_of(case, group))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_vector_scores_let_the_weights_of_a_slice_cancel(case, aggregate):
    for group, found in scored(case, LLMPrunerVector(aggregate)):
        parts = [(w * g.mean(0)).sum(1).abs() for w, g in slices_of(case, group)]
        torch.testing.assert_close(found, AGGREGATES[aggregate](torch.stack(parts)))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_element_scores_are_aggregated_over_slices(case, aggregate):
    for group, found in scored(case, LLMPrunerElement(aggregate=aggregate)):
        parts = torch.stack([ORDERS["first"](w, g) for w, g in slices_of(case, group)])
        torch.testing.assert_close(found, AGGREGATES[aggregate](parts))


def test_taylor_of_weights_sums_the_squares_of_single_weights(case):
    for group, found in scored(case, TaylorWeights()):
        w, g = next(iter(slices_of(case, group)))
        torch.testing.assert_close(found, (w * g).square().sum(2).mean(0))


def test_joint_taylor_squares_the_change_of_the_whole_row_with_its_bias(case):
    net, _, gradients = case
    for group, found in scored(case, TaylorWeights(joint=True)):
        name = group.role("producer")[0].parameter.removesuffix(".weight")
        w, g = next(iter(slices_of(case, group)))
        bias = net.get_submodule(name).bias.detach() * gradients[f"{name}.bias"]
        torch.testing.assert_close(found, ((w * g).sum(2) + bias).square().mean(0))


def test_the_last_rows_do_not_replace_the_earlier_ones(case):
    """Squared gradients are means over all rows, whatever batch came last."""
    net, (x, y), _ = case
    one, other = (
        nodelens.score(net, given, [LLMPrunerElement("second")])
        for given in ([(x, y)], batches(x, y, (8, 1)))
    )
    for score in one:
        values = torch.as_tensor(other[score.metric, score.group].values)
        torch.testing.assert_close(torch.as_tensor(score.values), values)


def test_a_gated_unit_has_three_slices():
    """Gate row, up row and down column, as in the published code for layers but attention."""
    net = made(Gated)
    x, y = data(6, 4)
    (score,) = nodelens.score(net, [(x, y)], [LLMPrunerVector()])
    gradients = torch.autograd.grad(
        F.cross_entropy(net(x), y), [net.gate.weight, net.up.weight, net.down.weight]
    )
    gate, up, down = (
        w.detach() * g
        for w, g in zip((net.gate.weight, net.up.weight, net.down.weight), gradients, strict=True)
    )
    expected = gate.sum(1).abs() + up.sum(1).abs() + down.sum(0).abs()
    torch.testing.assert_close(torch.as_tensor(score.values), expected)


class Gated(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.up = (torch.nn.Linear(4, 5, bias=False) for _ in range(2))
        self.down = torch.nn.Linear(5, 3, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


def test_a_transformer_is_scored_but_for_what_has_no_weight_of_its_own():
    ids = torch.arange(30).reshape(6, 5) * 7 % 11
    batch = {"input_ids": ids, "labels": (ids + 1) % 11}
    metrics = [LLMPrunerElement("mix"), TaylorWeights()]
    scores = nodelens.score(made(Attention), [batch], metrics)
    assert not scores.failed
    assert any(group.startswith("up") for group in scores.groups)


class Recurrent(torch.nn.Module):
    """Layers that are called twice, between layers that are called once."""

    def __init__(self):
        super().__init__()
        self.first, self.head = torch.nn.Linear(4, 5), torch.nn.Linear(5, 3)
        self.up, self.down = torch.nn.Linear(5, 6), torch.nn.Linear(6, 5)

    def forward(self, x):
        x = self.first(x)
        for _ in range(2):
            x = x + self.down(torch.tanh(self.up(x)))
        return self.head(x)


def test_the_gradients_of_all_calls_of_a_layer_are_added_before_they_are_squared():
    net, (x, y) = made(Recurrent), data(7, 4)
    group = next(g for g in nodelens.infer(net, x) if g.name.startswith("up"))
    rows = [
        torch.autograd.grad(F.cross_entropy(net(x[row : row + 1]), y[row : row + 1]), net.up.weight)
        for row in range(len(x))
    ]
    gradients = torch.stack([row[0] for row in rows])
    scores = nodelens.score(net, batches(x, y, (3, 4)), [TaylorWeights(), LLMPrunerVector()])
    expected = (net.up.weight.detach() * gradients).square().sum(2).mean(0)
    found = torch.as_tensor(scores["TaylorWeights", group.name].values)
    torch.testing.assert_close(found, expected)
    assert len(scores["LLMPrunerVector", group.name].values) == 6


class Tied(torch.nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = (torch.nn.Linear(4, 4) for _ in range(3))
        self.again.weight = self.first.weight

    def forward(self, x):
        return self.head(torch.tanh(self.again(torch.tanh(self.first(x)))))


@pytest.mark.parametrize(
    "metric", [TaylorWeights(), TaylorWeights(joint=True), LLMPrunerElement()], ids=str
)
def test_the_gradient_of_one_use_is_not_that_of_a_tied_weight(metric):
    net, (x, y) = made(Tied), data(7, 4)
    scores = nodelens.score(net, [(x, y)], [metric])
    assert not len(scores)
    assert any("first and again share one weight" in why for why in scores.skipped.values())
