"""Weights that a model computes before it multiplies with them: who uses them, and their values."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import nodelens
from nodelens.channels.infer import infer
from nodelens.errors import NotApplicableError
from nodelens.scoring.effective_weights import effective_weights

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


class Layered(nn.Module):
    """Two layers in parallel, of which one multiplies with what `make` returns."""

    def __init__(self, make):
        super().__init__()
        self.first, self.made, self.plain = (nn.Linear(8, 8) for _ in range(3))
        self.last, self.make = nn.Linear(8, 3), make

    def forward(self, x):
        x = self.first(x).relu()
        made = F.linear(x, self.make(self.made, x))
        return self.last((made + self.plain(x)).relu())


def slices(group, *roles):
    return {(part.parameter, part.axis, part.role) for part in group.weights(*roles)}


def group_of(graph, parameter):
    return next(
        group
        for group in graph
        if any(part.parameter == parameter for part in group.role("producer"))
    )


def weights_of(model, x=X):
    graph = infer(model.eval(), x)
    return graph, effective_weights(model, graph)


VALUES = {
    "scaled": lambda layer, x: layer.weight * 2,
    "turned": lambda layer, x: (layer.weight.t().contiguous() * 2).t(),
    "filled": lambda layer, x: torch.zeros_like(layer.weight).copy_(layer.weight).tril_(),
    "written": lambda layer, x: layer.weight.clone().mul_(3).clamp_(max=0.2),
    "half": lambda layer, x: layer.weight.half().float(),
    "summed": lambda layer, x: torch.stack([layer.weight, layer.weight * 2]).sum(0),
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_computed_weight_has_the_values_that_are_multiplied(kind):
    model = Layered(VALUES[kind])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph, weights = weights_of(model)
    (name,) = graph.computed
    with torch.no_grad():
        wanted = VALUES[kind](model.made, X)
    found = {
        part.role: part.extent.nodes_first(weights[name], part.axis)
        for group in graph
        for part in group.computed
    }
    assert torch.equal(found["producer"], wanted)
    assert torch.equal(found["consumer"], wanted.T)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_computed_weight_follows_its_parameters():
    model = Layered(VALUES["scaled"])
    graph, _ = weights_of(model)
    with torch.no_grad():
        model.made.weight.fill_(1.5)
    assert torch.equal(effective_weights(model, graph)["made.weight"], torch.full((8, 8), 3.0))


def test_a_weight_that_the_data_change_is_left_out_with_the_reason():
    graph, weights = weights_of(Layered(lambda layer, x: layer.weight * x.abs().amax()))
    (name,) = graph.computed
    with pytest.raises(NotApplicableError, match=r"made\.weight is changed by the data in"):
        weights[name]
    assert (name, 0, "consumer") in slices(group_of(graph, "first.weight"), "consumer")
    assert (name, 1, "producer") in slices(group_of(graph, "plain.weight"), "producer")


def test_an_activation_of_one_sample_is_no_weight():
    place = nn.Parameter(torch.zeros(1, 8))
    graph, _ = weights_of(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 3)), X + place.detach())
    assert not graph.computed


def test_a_weight_that_is_drawn_at_random_is_left_out_with_the_reason():
    model = Layered(lambda layer, x: layer.weight + torch.randn_like(layer.weight))
    scores = nodelens.score(model, [X, X], ["weight_l1", "outgoing_l1"], folds=2)
    reasons = {why for (name, _), why in scores.skipped.items() if "random" in why}
    assert reasons == {"the weight is drawn at random in every forward"}
    assert not scores.failed


class Repeated(nn.Module):
    """One parametrised layer that is called three times."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)
        self.again = parametrizations.weight_norm(nn.Linear(8, 8))

    def forward(self, x):
        x = self.first(x)
        for _ in range(3):
            x = self.again(x).relu()
        return self.last(x)


def test_a_weight_that_is_computed_in_every_call_is_one():
    graph, _ = weights_of(Repeated())
    assert list(graph.computed) == ["again.weight"]
    assert slices(graph.groups[0], "producer", "consumer") == {
        ("first.weight", 0, "producer"),
        ("last.weight", 1, "consumer"),
        ("again.weight", 0, "producer"),
        ("again.weight", 1, "consumer"),
    }


class Tied(nn.Module):
    """An embedding that the readout multiplies with, scaled."""

    def __init__(self):
        super().__init__()
        self.embed, self.up = nn.Embedding(11, 6), nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, tokens):
        return self.up(self.embed(tokens)).relu() @ (self.embed.weight * self.scale).T


def test_a_parameter_that_is_also_a_factor_keeps_its_own_role():
    model = Tied()
    graph, weights = weights_of(model, torch.arange(6).view(2, 3))
    assert slices(graph.groups[0], "producer", "consumer") >= {
        ("embed.weight", 1, "producer"),
        ("weight", 1, "consumer"),
    }
    assert ("embed.weight", 1, "consumer") not in slices(graph.groups[0], "consumer")
    assert torch.equal(weights["weight"], model.embed.weight * 2)


class Experts(nn.Module):
    """Masked weights of experts, of which the data choose one for each row."""

    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(4, 8, 6))
        self.route, self.down = nn.Linear(8, 4), nn.Linear(6, 3)
        self.register_buffer("mask", (torch.rand(4, 8, 6) > 0.5).float())

    def forward(self, x):
        chosen = (self.up * self.mask)[self.route(x).argmax(-1)]
        return self.down(torch.bmm(x.unsqueeze(1), chosen).squeeze(1).relu())


def test_entries_that_the_data_choose_are_those_of_the_computed_weight():
    model = Experts()
    graph, weights = weights_of(model)
    assert ("weight", 2, "producer") in slices(group_of(graph, "up"), "producer")
    assert torch.equal(weights["weight"], model.up * model.mask)


def test_a_pruned_scale_of_a_normalisation_is_the_one_that_multiplies():
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 3))
    prune.l1_unstructured(model[1], "weight", 0.5)
    images = torch.randn(4, 1, 7, 7)
    scores = nodelens.score(model.eval(), [images], ["bn_scale"], folds=2)
    wanted = model[1].weight.detach().abs().double().numpy()
    assert (scores["bn_scale", "0:channels"].values == wanted).all()
    assert (wanted == 0).sum() == 3
