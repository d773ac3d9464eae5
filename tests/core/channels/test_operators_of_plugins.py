"""Operators that only a plugin knows: one row serves inference, masks, capture, costs, removal."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.channels.rules.arithmetic import average, pointwise
from nodelens.errors import PluginError
from nodelens.graph import infer
from nodelens.interfaces.operator import Operator, factors
from nodelens.masks import operand_reader
from nodelens.removal.cost import costs


def custom(name, function):
    """Register an operator with torch that works on tensors without data too."""
    made = torch.library.custom_op(f"nodelens_tests::{name}", function, mutates_args=())
    made.register_fake(function)
    return made


def _twice(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


def _project(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x @ w.T


def _level(x: torch.Tensor, dim: int) -> torch.Tensor:
    return x.abs().sum(dim) / x.shape[dim]


twice, project, level = (
    custom("twice", _twice),
    custom("project", _project),
    custom("level", _level),
)


def projected(op):
    x, w = op.args
    (rows, nodes), (written, read) = op.axes(x), op.axes(w)
    op.contracts(x, w, read=(read,), written=(written,))
    op.unify(nodes, read)
    op.sums(x, w, [read])
    return [(rows, written)]


def level_of_present(there, x, dim):
    return torch.where(there, x.abs(), 0.0).sum(dim) / there.sum(dim)


TWICE = Operator("nodelens_tests::twice", pointwise)
PROJECT = Operator(
    "nodelens_tests::project",
    projected,
    operands=factors(0, 1, right_axis=-1),
    macs=lambda op: [(*op.axes(op.args[0]), op.axes(op.args[1])[0])],
)
LEVEL = Operator("nodelens_tests::level", average, average=level_of_present)
X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
KEEP = {"a:neurons": [0, 2, 5]}


class Uses(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)
        self.w = nn.Parameter(torch.randn(3, 6))


class Doubles(Uses):
    def forward(self, x):
        return self.b(twice(self.a(x)))


class Projects(Uses):
    def forward(self, x):
        return project(self.a(x), self.w)


class Levels(Uses):
    def forward(self, x):
        h = F.relu(self.a(x))
        return self.b(h) / (1 + level(h, 1)[:, None])


@pytest.mark.parametrize(("build", "row"), [(Doubles, TWICE), (Projects, PROJECT), (Levels, LEVEL)])
def test_an_operator_of_ones_own_freezes_what_it_touches_until_it_has_a_row(build, row):
    frozen = infer(build(), X)["a:neurons"].frozen
    assert frozen is not None
    assert "nodelens_tests" in frozen
    graph = infer(build(), X, operators=[row])
    assert graph["a:neurons"].prunable
    assert not graph.unknown_operators


def test_masks_replace_what_a_product_of_a_plugin_reads():
    model = Projects()
    graph = infer(model, X, operators=[PROJECT])
    with torch.no_grad(), graph.mask(model, KEEP):
        masked = model(X)
    kept = KEEP["a:neurons"]
    assert torch.allclose(masked, model.a(X)[:, kept] @ model.w[:, kept].T, atol=1e-6)


def test_readers_see_what_a_product_of_a_plugin_reads():
    model, met = Projects(), []
    graph = infer(model, X, operators=[PROJECT])
    sites = graph["a:neurons"].at("activation")
    with torch.no_grad(), operand_reader(model, sites, lambda s, t: met.append(t), [PROJECT]):
        model(X)
    assert torch.equal(torch.stack(met), model.a(X)[None])


def test_products_of_a_plugin_cost_what_its_row_says():
    found = costs(Projects(), infer(Projects(), X, operators=[PROJECT]), X)
    assert found.model.macs == 5 * 4 * 6 + 5 * 6 * 3
    assert found.nodes["a:neurons"].macs == 5 * 4 + 5 * 3


@pytest.mark.parametrize(
    ("build", "row", "status"), [(Projects, PROJECT, "exact"), (Levels, LEVEL, "shifted")]
)
def test_nodes_that_an_operator_of_a_plugin_reads_can_be_removed(build, row, status):
    model = build()
    removal = infer(model, X, operators=[row]).remove(model, KEEP, X)
    assert [verdict.status for verdict in removal.verdicts] == [status]
    assert model.a.out_features == 3


def test_removal_is_refused_where_the_row_of_an_average_says_the_wrong_thing():
    wrong = Operator(LEVEL.name, average, average=lambda there, x, dim: x.abs().amax(dim))
    model = Levels()
    (verdict,) = infer(model, X, operators=[wrong]).verify(model, X)
    assert verdict.status == "refused"


def raising(op):
    raise ZeroDivisionError("far")


WRONG_RULES = {
    "raises": (raising, "failed: ZeroDivisionError: far"),
    "returns nothing": (lambda op: None, "returned None"),
    "returns a number": (lambda op: 3, "returned 3"),
    "returns one tuple of axes": (lambda op: op.axes(op.args[0]), "must return the axes of every"),
    "returns sizes": (lambda op: [(5, 6)], "must return the axes of every"),
    "returns bare names": (lambda op: [("rows", "nodes")], "must return the axes of every"),
}


@pytest.mark.parametrize("case", WRONG_RULES)
@pytest.mark.parametrize("name", [TWICE.name, "relu"])
def test_a_rule_that_fails_is_named(name, case):
    rule, reason = WRONG_RULES[case]
    model = nn.Sequential(Doubles(), nn.ReLU())
    with pytest.raises(PluginError, match=f"the rule of operator {name} (.*; it )?{reason}"):
        infer(model, X, operators=[Operator(name, rule)])


@pytest.mark.parametrize("rows", [[3], "relu", 3, [None]])
def test_what_is_no_row_is_refused(rows):
    with pytest.raises(PluginError, match="operators: expected rows"):
        infer(Doubles(), X, operators=rows)


def test_a_row_replaces_that_of_the_core():
    frozen = Operator("mm", lambda op: op.freeze(op.axes(op.args[0]), "not today") or [])
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3, bias=False))
    assert infer(model, X)["0:neurons"].prunable
    assert infer(model, X, operators=[frozen])["0:neurons"].frozen == "not today in 1"
