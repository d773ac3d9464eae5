"""Nodes of experts whose weights are stacked: one number of a node for each expert."""

import copy

import pytest
import torch
from tests.metrics.every_metric import SPECS, made
from tests.metrics.test_components import canonical_information
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.masks.masking import mask_batch, repeated
from nodelens.testing.random_metric_checks import draws
from nodelens_metrics.weighted_activations.reconstruction import ReconstructionError

ROWS, WIDTH, EXPERTS, NODES, CLASSES = 96, 5, 3, 4, 3
METRICS = {spec.name: made(spec) for spec in SPECS if spec.name != "composite"}
NAMES = [name for name, metric in METRICS.items() if not draws(metric)]


class Experts(nn.Module):
    """All experts for all rows, weighed by a router, as products in several layouts."""

    def __init__(self, product="bmm"):
        super().__init__()
        torch.manual_seed(0)
        self.product = product
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.up = nn.Parameter(torch.randn(EXPERTS, WIDTH, NODES))
        self.bias = nn.Parameter(torch.randn(EXPERTS, NODES))
        self.down = nn.Parameter(torch.randn(EXPERTS, NODES, WIDTH))
        self.out = nn.Linear(WIDTH, CLASSES)
        self.double()

    def hidden(self, x):
        """Return what the experts' second weights read, ``(experts, rows, nodes)``."""
        hidden = F.gelu(torch.einsum("nd,edh->enh", x, self.up) + self.bias.unsqueeze(1))
        shares = self.router(x).softmax(-1).t().unsqueeze(-1)
        return hidden * shares

    def written(self, hidden):
        if self.product == "bmm":
            return torch.bmm(hidden, self.down).sum(0)
        if self.product == "joint":
            return hidden.movedim(0, 1).flatten(1) @ self.down.flatten(0, 1)
        if self.product == "nodes first":
            flat = self.down.transpose(0, 1).flatten(0, 1)
            return hidden.permute(1, 2, 0).flatten(1) @ flat
        return torch.einsum("enh,ehd->nd", hidden, self.down)

    def forward(self, x):
        return self.out(self.written(self.hidden(x)))


PRODUCTS = ("bmm", "joint", "nodes first", "einsum")


def data():
    random = torch.Generator().manual_seed(7)
    x = torch.randn(ROWS, WIDTH, generator=random, dtype=torch.float64)
    return x, torch.randint(0, CLASSES, (ROWS,), generator=random)


def group_in(model):
    (group,) = [
        each for each in nodelens.infer(model, data()[0]) if each.components("activation") > 1
    ]
    return group


def scored(model, names):
    found = nodelens.score(model.eval(), [data()], list(names), folds=2)
    assert not found.failed
    return found


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_node_has_a_component_for_each_expert(product):
    group = group_in(Experts(product))
    assert (group.width, group.components("activation")) == (NODES, EXPERTS)
    assert {part.stacked for part in group.weights("producer", "consumer")} == {0}


def test_what_all_experts_read_has_one_component():
    class Shared(Experts):
        def hidden(self, x):
            return F.gelu(torch.bmm(x.expand(EXPERTS, -1, -1), self.up))

        def forward(self, x):
            return super().forward(self.first(x))

    model = Shared()
    model.first = nn.Linear(WIDTH, WIDTH).double()
    (group,) = [
        each
        for each in nodelens.infer(model, data()[0])
        if any(part.parameter == "first.weight" and part.role == "producer" for part in each.slices)
    ]
    assert group.components("activation") == 1


def brute_force(model):
    """Return scores by their formulas, from the activations ``(rows, nodes, experts)``."""
    x, y = data()
    a = model.hidden(x).permute(1, 2, 0).detach().requires_grad_()
    logits = model.out(torch.einsum("nhe,ehd->nd", a, model.down))
    (g,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), a)
    a = a.detach()
    weight = model.down.detach().transpose(0, 1)
    mean, square = a.mean(0), a.square().mean(0)
    variance, nodes = square - mean.square(), range(NODES)
    others = {i: [j for j in nodes if j != i] for i in nodes}
    shared = [[canonical_information(a[:, i], a[:, j]) for j in others[i]] for i in nodes]
    return {
        "activation_rms": square.sum(1).sqrt(),
        "activation_variance": variance.sum(1),
        "activation_mean": mean.mean(1),
        "flap_wifv": (variance * weight.square().sum(-1)).sum(1),
        "wanda_sp": (square.sqrt() * weight.abs().mean(-1)).sum(1),
        "independent_contribution": (a.abs().mean(0) * weight.norm(dim=-1)).sum(1),
        "taylor": (a * g).sum(2).square().mean(0),
        "mean_ablation_fisher": 0.5 * ((a - mean) * g).sum(2).square().mean(0),
        "redundancy": torch.tensor(shared, dtype=torch.float64).mean(1),
    }


@pytest.mark.parametrize("product", PRODUCTS)
def test_scores_are_those_of_their_formulas(product):
    model = Experts(product)
    expected, name = brute_force(model), group_in(model).name
    found = scored(model, expected)
    for metric, values in expected.items():
        got = torch.as_tensor(found[metric, name].values)
        torch.testing.assert_close(got, values.detach(), rtol=1e-4, atol=1e-9, msg=metric)


@pytest.mark.parametrize("product", ["bmm", "joint"])
@pytest.mark.parametrize("repair", ["none", "mean_bias", "weights", "weights_and_bias"])
def test_reconstruction_knows_which_experts_have_a_common_output(product, repair):
    model = Experts(product)
    metric = ReconstructionError(repair, damping=1e-13)
    name = group_in(model).name
    found = nodelens.score(model, [data()], [metric], folds=2)
    values = torch.from_numpy(found["ReconstructionError", name].values)
    a = model.hidden(data()[0]).detach()
    outputs = torch.einsum("enh,ehd->hend", a, model.down.detach())
    if product == "joint":
        outputs = outputs.sum(1, keepdim=True)
        read = a.movedim(0, 1).flatten(1)[None]
        own = [[e * NODES + h for e in range(EXPERTS)] for h in range(NODES)]
    else:
        read, own = a, [[h] for h in range(NODES)]
    expected = []
    for node in range(NODES):
        error = 0.0
        for features, lost in zip(read, outputs[node], strict=True):
            rest = [i for i in range(features.shape[1]) if i not in own[node]]
            known = features[:, rest if repair.startswith("weights") else []]
            if repair.endswith("bias"):
                known = torch.cat([known, torch.ones(ROWS, 1).double()], 1)
            fitted = known @ torch.linalg.lstsq(known, lost).solution if known.shape[1] else 0.0
            error += (lost - fitted).square().sum(1).mean()
        expected.append(error)
    torch.testing.assert_close(values, torch.stack(expected), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("product", PRODUCTS)
def test_means_are_those_of_each_expert(product):
    model, x = Experts(product), data()[0]
    with torch.no_grad():
        model.router.weight.zero_()
        model.up[:, :, 1] = 0.0
    graph, group = nodelens.infer(model, x), group_in(model)
    means = {group.name: model.hidden(x).detach().mean(1).t()}
    before, keep = model(x).detach(), {group.name: [0, 2, 3]}
    with torch.no_grad(), graph.mask(model, keep, "mean", means):
        torch.testing.assert_close(model(x), before, rtol=0.0, atol=1e-12)
    other, dropped = {group.name: [1, 2]}, [0, 3]
    hidden = model.hidden(x).detach()
    hidden[..., dropped] = means[group.name].t()[:, None, dropped]
    with torch.no_grad(), graph.mask(model, other, "mean", means):
        found = model(x)
    torch.testing.assert_close(found, model.out(model.written(hidden)).detach())


@pytest.mark.parametrize("product", PRODUCTS)
def test_several_masks_at_once_are_those_one_by_one(product):
    model, x = Experts(product), data()[0]
    graph, group = nodelens.infer(model, x), group_in(model)
    means = {group.name: model.hidden(x).detach().mean(1).t()}
    keeps = [{group.name: [0, 2]}, {group.name: [1, 3]}]
    with torch.no_grad(), mask_batch(model, graph, keeps, "mean", means):
        together = model(repeated(x, 2)).unflatten(0, (2, -1))
    for keep, found in zip(keeps, together, strict=True):
        with torch.no_grad(), graph.mask(model, keep, "mean", means):
            torch.testing.assert_close(found, model(x))


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_order_of_experts_changes_nothing(product):
    model = Experts(product)
    other, turn = copy.deepcopy(model), [2, 0, 1]
    with torch.no_grad():
        for each in (other.up, other.bias, other.down, other.router.weight, other.router.bias):
            each.copy_(each[turn])
    torch.testing.assert_close(model(data()[0]), other(data()[0]))
    name = group_in(model).name
    one, two = scored(model, NAMES), scored(other, NAMES)
    compared = [key for key in one.scores if key[1] == name]
    assert len(compared) > 60
    for key in compared:
        value = one[key].values
        error = abs(two[key].values - value).max()
        assert error <= 1e-6 * abs(value).max() + 1e-12, key


def test_experts_in_a_list_have_groups_of_their_own():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.up = nn.ModuleList(nn.Linear(WIDTH, NODES) for _ in range(EXPERTS))
            self.down = nn.ModuleList(nn.Linear(NODES, WIDTH) for _ in range(EXPERTS))
            self.out = nn.Linear(WIDTH, CLASSES)

        def forward(self, x):
            pairs = zip(self.up, self.down, strict=True)
            return self.out(sum(down(F.gelu(up(x))) for up, down in pairs))

    model, (x, _) = Listed().double(), data()
    found = scored(model, ["activation_variance", "flap_wifv"])
    for expert, (up, down) in enumerate(zip(model.up, model.down, strict=True)):
        variance = F.gelu(up(x)).detach().var(0, correction=0)
        weight = down.weight.detach().square().sum(0)
        for metric, expected in (
            ("activation_variance", variance),
            ("flap_wifv", variance * weight),
        ):
            got = torch.from_numpy(found[metric, f"up.{expert}:neurons"].values)
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=0.0)
