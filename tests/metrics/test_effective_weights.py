"""A model that computes its weights, and its twin that stores them: equal scores."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from tests.metrics.every_metric import OFFERS, base_options
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import nodelens
from nodelens_metrics.curvature.substitution import Substitution

METRICS = [{"name": offer.spec.name, **base_options(offer.spec)} for offer in OFFERS]


def weight_normed(layer):
    parametrizations.weight_norm(layer)
    layer.parametrizations.weight.original0.data *= _by_row(layer)
    return layer


def weight_normed_by_a_hook(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        weight_norm(layer)
    layer.weight_g.data *= _by_row(layer)
    return layer


def _by_row(layer):
    rows = torch.linspace(0.3, 2.0, len(layer.weight), dtype=layer.weight.dtype)
    return rows.view(-1, *[1] * (layer.weight.ndim - 1))


def pruned_twice(layer):
    prune.ln_structured(layer, "weight", 0.3, n=1, dim=0)
    return prune.random_unstructured(layer, "weight", 0.3)


class ComposedLinear(nn.Linear):
    """A layer whose forward multiplies with what it makes of its parameters."""

    def forward(self, x):
        return F.linear(x, self.make(), self.bias)


class ComposedConvolution(nn.Conv2d):
    """The same for a convolution."""

    def forward(self, x):
        return self._conv_forward(x, self.make(), self.bias)


def composed(make, layer):
    """Return the layer, turned into one that multiplies with ``make(layer)``."""
    layer.__class__ = ComposedLinear if isinstance(layer, nn.Linear) else ComposedConvolution
    layer.make = partial(make, layer)
    like = {"dtype": layer.weight.dtype}
    layer.up = nn.Parameter(torch.randn(len(layer.weight), 2, **like) / 2)
    layer.down = nn.Parameter(torch.randn(2, layer.weight[0].numel(), **like) / 2)
    layer.register_buffer("mask", (torch.rand(layer.weight.shape) > 0.4).to(layer.weight))
    layer.codebook = nn.Parameter(torch.randn(7, **like) / 2)
    layer.register_buffer("entries", torch.randint(7, layer.weight.shape))
    return layer


def adapted(layer):
    return layer.weight + (layer.up @ layer.down).view_as(layer.weight)


def rounded(layer):
    steps = torch.fake_quantize_per_tensor_affine(layer.weight.float(), 0.05, 0, -8, 7)
    return steps.to(layer.weight)


def rounded_to_the_largest(layer):
    step = layer.weight.abs().amax() / 7
    return (layer.weight / step).round() * step


KINDS = {
    "weight_norm": weight_normed,
    "old_weight_norm": weight_normed_by_a_hook,
    "spectral_norm": parametrizations.spectral_norm,
    "old_spectral_norm": spectral_norm,
    "prune": pruned_twice,
    "mask": partial(composed, lambda layer: layer.weight * layer.mask),
    "scale": partial(composed, lambda layer: 3.0 * layer.weight),
    "lora": partial(composed, adapted),
    "fake_quantize": partial(composed, rounded),
    "round": partial(composed, rounded_to_the_largest),
    "codebook": partial(composed, lambda layer: layer.codebook[layer.entries]),
}


def layers():
    yield nn.Conv2d(2, 4, 3)
    yield nn.Conv2d(4, 5, 2)
    yield nn.Linear(20, 6)
    yield nn.Linear(6, 3)


def network(first, second, third, last):
    found = nn.Sequential(first, nn.ReLU(), second, nn.Flatten(), third, nn.Tanh(), last)
    return found.double().eval()


def pair(kind):
    """Return the network whose first three layers compute their weights, and its twin."""
    torch.manual_seed(0)
    *computing, last = (each.double() for each in layers())
    made = network(*(KINDS[kind](each) for each in computing), last)
    inputs = batches()[0][0]
    with torch.no_grad():
        made(inputs)
        plain = network(*layers())
        for layer, twin in zip(made, plain, strict=True):
            if hasattr(twin, "weight"):
                own = layer.make() if hasattr(layer, "make") else layer.weight
                twin.weight.copy_(own)
                twin.bias.copy_(layer.bias)
        assert torch.allclose(made(inputs), plain(inputs))
    return made, plain


def batches():
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, 12, 2, 5, 5, generator=random, dtype=torch.float64)
    return [(each, torch.arange(12) % 3) for each in inputs]


def scored(model):
    """Return the values of all metrics, and the state of the model before and after."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = nodelens.score(model, batches(), METRICS, folds=2)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not found.failed
    return {key: score.values for key, score in {**found.scores, **found.layers}.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_computed_weight_gets_the_scores_of_the_stored_one(kind):
    computing, plain = (scored(each) for each in pair(kind))
    assert computing.keys() == plain.keys()
    assert {name for name, _ in plain} >= {"weight_l1", "grasp", "obd", "taylor_weights", "nisp"}
    for key, wanted in plain.items():
        gap = np.abs(computing[key] - wanted).max()
        assert gap <= 1e-5 * np.abs(wanted).max(), key


def test_in_training_mode_a_spectral_norm_is_not_stepped():
    computing, plain = pair("spectral_norm")
    before = computing[0].parametrizations.weight[0]._u.clone()
    computing.train()
    scores = [
        nodelens.score(each, batches(), ["weight_l1", "llm_pruner_element"], folds=2)
        for each in (computing, plain)
    ]
    assert torch.equal(computing[0].parametrizations.weight[0]._u, before)
    for key, wanted in scores[1].scores.items():
        assert np.allclose(scores[0][key].values, wanted.values, rtol=1e-5)


class Averaged(nn.Linear):
    """A layer that multiplies with an average of its weights except in training."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("average", torch.randn_like(self.weight))

    def forward(self, x):
        return F.linear(x, self.weight if self.training else self.average, self.bias)


class Sum(nn.Linear):
    """A layer that multiplies with the transpose of a sum of parameters."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.more = nn.Parameter(torch.randn_like(self.weight))

    def forward(self, x):
        return x @ (self.weight + self.more).T + self.bias


DERIVATIVES = ["grasp", "weight_l1", "group_l2", "rayleigh_quotient", "wanda_sp"]


@pytest.mark.parametrize(
    ("kind", "own"),
    [(Averaged, lambda each: each.average), (Sum, lambda each: each.weight + each.more)],
)
def test_what_is_multiplied_in_evaluation_is_scored(kind, own):
    torch.manual_seed(0)
    made = nn.Sequential(kind(50, 6), nn.Tanh(), kind(6, 5), nn.Tanh(), nn.Linear(5, 3))
    plain = nn.Sequential(nn.Linear(50, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    plain.load_state_dict(made.state_dict(), strict=False)
    for number in (0, 2):
        plain[number].weight.data.copy_(own(made[number]))
    rows = [(inputs.flatten(1), labels) for inputs, labels in batches()]
    found, wanted = (
        nodelens.score(each.double().eval(), rows, DERIVATIVES, folds=2) for each in (made, plain)
    )
    assert {name for name, _ in wanted.scores} == {*DERIVATIVES}
    for key, score in wanted.scores.items():
        assert np.allclose(found[key].values, score.values, rtol=1e-5, atol=1e-12), key


def test_a_variable_that_only_its_own_values_were_read_of_is_missed():
    variable, values = torch.randn(3, 4), torch.zeros(3, 4)
    with Substitution({"weight": variable}) as substitution:
        assert torch.equal(variable.detach().float(), variable)
    substitution.mark_missed({"weight": values})
    assert values.isnan().all()


def test_nodes_that_are_read_where_nothing_shows_them_are_not_scored_from_the_rest():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells, self.head = nn.GRU(5, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.cells(x)[0][:, -1])

    model = Recurrent().double().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        weight_norm(model.cells, "weight_hh_l0")
    rows = [(inputs[:, 0], labels) for inputs, labels in batches()]
    group = nodelens.infer(model, rows[0][0])["cells:residual"]
    assert "where no module's input shows it" in group.unread
    with pytest.raises(nodelens.NodelensError, match="cells:residual: read by"):
        nodelens.score(model, rows, ["taylor"], folds=2)
