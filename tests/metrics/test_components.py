"""Metrics of nodes of several components: heads, groups of query heads, in either layout."""

import copy

import pytest
import torch
from tests.metrics.every_metric import SPECS, made
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.errors import ModelError
from nodelens.testing.random_metric_checks import draws
from nodelens_metrics.curvature.traces import Traces

ROWS, TOKENS, WIDTH, HEADS, DIM, CLASSES = 96, 5, 6, 4, 4, 3
SKIPPED = ("composite",)
METRICS = {spec.name: made(spec) for spec in SPECS if spec.name not in SKIPPED}
RANDOM = [name for name, metric in METRICS.items() if draws(metric)]
NAMES = [name for name in METRICS if name not in RANDOM]
SAME = (":heads", ":kv_groups", ":query_heads", ":residual", ":neurons")
"""Groups whose nodes are the same in both models; single dimensions of heads are not."""

ROUNDING, TINY = 1e-6, 1e-12
OF_NEXT = {"next_layer_information"}
"""Metrics of a group and the next one, which here are the dimensions inside the heads."""


class Attention(nn.Module):
    """Heads of four dimensions; `groups` share keys and values, `turned` puts dimensions first."""

    def __init__(self, heads=HEADS, groups=None, turned=False, dim=DIM):
        super().__init__()
        torch.manual_seed(2)
        self.heads, self.groups, self.turned, self.dim = heads, groups or heads, turned, dim
        self.q, self.o = nn.Linear(WIDTH, heads * dim), nn.Linear(heads * dim, WIDTH)
        self.k, self.v = (nn.Linear(WIDTH, self.groups * dim) for _ in range(2))
        self.out = nn.Linear(WIDTH, CLASSES)

    def split(self, values, heads):
        if self.turned:
            return values.unflatten(-1, (self.dim, heads)).movedim(-1, 1)
        return values.unflatten(-1, (heads, self.dim)).transpose(1, 2)

    def forward(self, x):
        q = self.split(self.q(x), self.heads)
        k, v = (self.split(each(x), self.groups) for each in (self.k, self.v))
        k, v = (each.repeat_interleave(self.heads // self.groups, dim=1) for each in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        mixed = mixed.movedim(1, -1) if self.turned else mixed.transpose(1, 2)
        return self.out(self.o(mixed.flatten(2)).mean(1))


KINDS = {
    "heads": (Attention, {}),
    "dimensions before heads": (Attention, {"turned": True}),
    "groups of query heads": (Attention, {"heads": 8, "groups": 4}),
}


def data():
    random = torch.Generator().manual_seed(7)
    x = torch.randn(ROWS, TOKENS, WIDTH, generator=random, dtype=torch.float64)
    return x, torch.randint(0, CLASSES, (ROWS,), generator=random)


def permuted(model):
    """Return the model with the dimensions of its second head in another order, and one of queries.

    The values of the second head and what reads them are permuted together, so that the function is
    the same; so are the queries and keys of the first.
    """
    other, turn = copy.deepcopy(model), torch.tensor([1, 2, 3, 0])
    repeats = model.heads // model.groups

    def places(heads, chosen):
        grid = torch.arange(heads * DIM)
        grid = grid.view(DIM, heads).T if model.turned else grid.view(heads, DIM)
        order = grid.clone()
        order[chosen] = grid[chosen][:, turn]
        flat = torch.empty(heads * DIM, dtype=torch.int64)
        flat[grid.flatten()] = order.flatten()
        return flat

    def queries(group):
        return list(range(group * repeats, (group + 1) * repeats))

    with torch.no_grad():
        for layer, heads, chosen in (
            (other.v, model.groups, [1]),
            (other.k, model.groups, [0]),
            (other.q, model.heads, queries(0)),
        ):
            order = places(heads, chosen)
            layer.weight.copy_(layer.weight[order])
            layer.bias.copy_(layer.bias[order])
        other.o.weight.copy_(other.o.weight[:, places(model.heads, queries(1))])
    return other


def permuted_signs(model, monkeypatch):
    """Draw the random signs of a permuted model as those of the model, permuted as its weights."""
    numbered = copy.deepcopy(model)
    with torch.no_grad():
        for each in numbered.parameters():
            each.copy_(torch.arange(each.numel()).view_as(each))
    origins = {name: each.detach().long() for name, each in permuted(numbered).named_parameters()}
    draw = Traces._signs

    def drawn(self, place, parameters):
        signs = draw(self, place, parameters)
        return {name: each.flatten()[origins[name]] for name, each in signs.items()}

    monkeypatch.setattr(Traces, "_signs", drawn)


def scored(model, names=NAMES):
    found = nodelens.score(model.double().eval(), [data()], list(names), folds=2)
    assert not found.failed
    return found


def heads_of(scores):
    return next(group for group in scores.groups if group.endswith((":heads", ":kv_groups")))


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    build, options = KINDS[request.param]
    model = build(**options).double()
    with torch.no_grad():
        for layer in (model.q, model.k, model.v):
            layer.weight[DIM : 2 * DIM] = layer.weight[:DIM] + 0.3 * layer.weight[DIM : 2 * DIM]
    other = permuted(model)
    assert torch.allclose(model(data()[0]), other(data()[0]))
    return scored(model), scored(other)


def test_the_kit_scores_heads_by_nearly_all_metrics(pair):
    one, other = pair
    group = heads_of(one)
    missing = {name for name, at in one.skipped if at == group}
    assert missing == {name for name, at in other.skipped if at == group}
    assert len(missing) < 20


@pytest.mark.parametrize("name", sorted({*NAMES} - OF_NEXT))
def test_the_order_of_components_inside_a_node_changes_nothing(pair, name):
    one, other = pair
    for kind in ("scores", "layers"):
        found, expected = getattr(other, kind), getattr(one, kind)
        for key in (key for key in expected if key[0] == name and key[1].endswith(SAME)):
            value = expected[key].values
            scale = abs(value).max()
            error = abs(found[key].values - value).max()
            assert error <= ROUNDING * scale + TINY, (key, found[key].values, value)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_does_it_to_random_metrics_with_equal_signs(kind, monkeypatch):
    build, options = KINDS[kind]
    model = build(**options).double()
    one = scored(model, RANDOM)
    permuted_signs(model, monkeypatch)
    other = scored(permuted(model), RANDOM)
    compared = [key for key in one.scores if key[1].endswith(SAME)]
    assert {name for name, _ in compared} == set(RANDOM)
    for key in compared:
        value = one[key].values
        assert abs(other[key].values - value).max() <= ROUNDING * abs(value).max() + TINY, key


def with_constant(dim, value):
    """Return the scores of a network whose second head of `dim` dimensions is constant."""
    model = Attention(dim=dim).double()
    chosen = slice(dim, 2 * dim)
    with torch.no_grad():
        model.v.weight[chosen] = 0.0
        model.v.bias[chosen] = value * torch.linspace(1.0, 2.0, dim)
        model.o.weight[:, chosen] *= 1.0 / value
    return scored(model)


@pytest.fixture(scope="module")
def constants():
    """Return scores with a constant node: of one component, at two values, and of four."""
    return with_constant(1, 0.5), with_constant(1, -2.0), with_constant(DIM, 0.5)


@pytest.mark.parametrize("name", [name for name in NAMES if METRICS[name].statistics])
def test_a_constant_vector_gets_what_a_constant_number_gets(constants, name):
    if (name, heads_of(constants[0])) not in constants[0].scores:
        return
    one, other, vector = (each[name, heads_of(each)].values[1] for each in constants)
    if abs(one - other) < TINY and min(abs(one), abs(one - 1.0)) < TINY:  # of constants as such
        assert abs(vector - one) < 1e-9


def mixed(model, x, nodes):
    """Return what the output projection reads, ``(rows, tokens, nodes, components)``."""
    read = []
    handle = model.o.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    model(x)
    handle.remove()
    return read[0].detach().unflatten(-1, (nodes, -1))


def canonical_information(a, b):
    """Return the Gaussian information between two vectors, samples first."""
    joint = torch.corrcoef(torch.cat([a, b], 1).T)
    size = a.shape[1]
    parts = torch.stack([joint[:size, :size].logdet(), joint[size:, size:].logdet()])
    return 0.5 * (parts.sum() - joint.logdet())


def brute_force(model, nodes, x, y):
    """Return the scores of heads by their formulas, from the activations themselves."""
    a = mixed(model, x, nodes)
    read = a.clone().requires_grad_()
    logits = model.out(model.o(read.flatten(2)).mean(1))
    (g,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), read)
    flat, heads, size = a.flatten(0, 1), range(nodes), a.shape[-1]
    weight = model.o.weight.detach().T.unflatten(0, (nodes, size))
    mean, square = flat.mean(0), flat.square().mean(0)
    variance, d = square - mean.square(), flat - mean
    dg = (d * g.flatten(0, 1)).sum(-1)
    moment = torch.cov(flat.flatten(1).T, correction=0)
    damped = moment + 0.01 * moment.diagonal().mean() * torch.eye(len(moment))
    blocks = torch.linalg.inv(damped).view(nodes, size, nodes, size)
    error = [(weight[i].T @ torch.linalg.inv(blocks[i, :, i]) @ weight[i]).trace() for i in heads]
    norms = moment.view(nodes, size, nodes, size).square().sum((1, 3)).sqrt()
    alike = norms / (norms.diagonal().sqrt().outer(norms.diagonal().sqrt()))
    others = {i: [j for j in heads if j != i] for i in heads}
    shared = [[canonical_information(flat[:, i], flat[:, j]) for j in others[i]] for i in heads]
    rest = [canonical_information(flat[:, i], flat[:, others[i]].flatten(1)) for i in heads]
    leading = torch.linalg.eigh(moment).eigenvectors[:, -1].square()
    return {
        "activation_rms": square.sum(1).sqrt(),
        "activation_variance": variance.sum(1),
        "activation_mean_abs": flat.abs().mean(0).sum(1),
        "activation_mean": mean.mean(1),
        "minitron": a.abs().mean(1).square().mean(0).sum(1).sqrt(),
        "kurtosis": d.pow(4).mean(0).sum(1) / variance.square().sum(1),
        "flap_ifv": variance.sum(1),
        "flap_wifv": (variance * weight.square().sum(-1)).sum(1),
        "wanda_sp": (square.sqrt() * weight.abs().mean(-1)).sum(1),
        "independent_contribution": (flat.abs().mean(0) * weight.norm(dim=-1)).sum(1),
        "reconstruction_error": torch.stack(error),
        "gradient_norm": g.flatten(0, 1).square().mean(0).sum(1).sqrt(),
        "taylor": (a * g).sum((1, 3)).square().mean(0),
        "loss_proxy": 0.5 * (a * g).flatten(0, 1).sum(-1).square().mean(0),
        "mean_ablation_fisher": 0.5 * dg.square().mean(0),
        "mean_ablation_first_order": -dg.unflatten(0, (len(x), -1)).sum(1).mean(0),
        "activation_correlation": (alike.sum(1) - 1.0) / (len(heads) - 1),
        "redundancy": torch.tensor(shared, dtype=torch.float64).mean(1),
        "peer_redundancy": torch.stack(rest),
        "eigen_share": leading.view(nodes, size).sum(1),
    }


FORMULAS = {
    "heads": {"heads": 3},
    "groups of query heads": {"heads": 6, "groups": 3},
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_scores_of_heads_are_those_of_their_formulas(kind):
    model, (x, y) = Attention(**FORMULAS[kind]).double(), data()
    expected = brute_force(model, model.groups, x, y)
    found = scored(model, sorted(expected))
    for name, values in expected.items():
        got = torch.as_tensor(found[name, heads_of(found)].values)
        torch.testing.assert_close(got, values.detach(), rtol=1e-4, atol=1e-9, msg=name)


def test_a_constant_head_replaced_by_its_means_leaves_the_output_unmoved():
    model, x = Attention(heads=3).double(), data()[0]
    with torch.no_grad():
        model.v.weight[:DIM] = 0.0
        model.v.bias[:DIM] = torch.tensor([0.5, -0.5, 1.0, -1.0])
    graph = nodelens.infer(model, x[:2])
    (group,) = [each for each in graph if each.kind == "heads"]
    means = {group.name: mixed(model, x, 3).mean((0, 1))}
    keep = {group.name: [1, 2]}
    before = model(x)
    with torch.no_grad(), graph.mask(model, keep, "mean", means):
        torch.testing.assert_close(model(x), before, rtol=0.0, atol=1e-12)
    graph.remove(model, keep, x, means=means)
    torch.testing.assert_close(model(x), before, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    "means", [[0.0], torch.zeros(12), torch.zeros(3, 1, 1), torch.full((3, 4), torch.nan), "no"]
)
def test_means_that_are_no_vectors_of_finite_numbers_are_refused(means):
    model, x = Attention(heads=3).double(), data()[0]
    graph, keep = nodelens.infer(model, x[:2]), {"model:heads": [1, 2]}
    before = model(x)
    with pytest.raises(ModelError, match="model:heads: "):
        graph.remove(model, keep, x, means={"model:heads": means})
    masked = graph.mask(model, keep, "mean", {"model:heads": means})
    with pytest.raises(ModelError, match="model:heads: "), masked:
        model(x)
    assert torch.equal(model(x), before)
