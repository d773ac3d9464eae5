"""Metrics of nodes of several components: heads, groups of query heads, in either layout."""

import copy

import pytest
import torch
from tests.metrics.every_metric import SPECS, made
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.testing.random_metric_checks import draws

ROWS, TOKENS, WIDTH, HEADS, DIM, CLASSES = 96, 5, 6, 4, 4, 3
SKIPPED = ("composite",)
METRICS = {spec.name: made(spec) for spec in SPECS if spec.name not in SKIPPED}
NAMES = [name for name, metric in METRICS.items() if not draws(metric)]
ROUNDING = 1e-6


class Attention(nn.Module):
    """Heads of four dimensions; `groups` share keys and values, `turned` puts dimensions first."""

    def __init__(self, heads=HEADS, groups=None, turned=False):
        super().__init__()
        torch.manual_seed(2)
        self.heads, self.groups, self.turned = heads, groups or heads, turned
        self.q, self.o = nn.Linear(WIDTH, heads * DIM), nn.Linear(heads * DIM, WIDTH)
        self.k, self.v = (nn.Linear(WIDTH, self.groups * DIM) for _ in range(2))
        self.out = nn.Linear(WIDTH, CLASSES)

    def split(self, values, heads):
        if self.turned:
            return values.unflatten(-1, (DIM, heads)).movedim(-1, 1)
        return values.unflatten(-1, (heads, DIM)).transpose(1, 2)

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
    print(len(NAMES), sorted(missing))


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_components_inside_a_node_changes_nothing(pair, name):
    one, other = pair
    for kind in ("scores", "layers"):
        found, expected = getattr(other, kind), getattr(one, kind)
        for key in (key for key in expected if key[0] == name and key[1].endswith(SAME)):
            value = expected[key].values
            scale = abs(value).max()
            error = abs(found[key].values - value).max()
            assert error <= ROUNDING * scale, (key, found[key].values, value)


SAME = (":heads", ":kv_groups", ":query_heads", ":residual", ":neurons")
"""Groups whose nodes are the same in both models; single dimensions of heads are not."""
