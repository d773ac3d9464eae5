"""The kit catches statistics with passes of their own that are wrong in one way, and names it."""

from typing import ClassVar

import pytest
import torch
from attrs import frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.rows import add_fields, zeros
from nodelens.testing import check_metric, check_pass_statistic, failures
from nodelens.testing.rewritings import REWRITINGS
from nodelens.testing.world import make_world, reading
from nodelens.testing.world_model import WorldModel, batch_of, residual
from nodelens.testing.world_view import accumulate


@frozen(eq=False)
class Summary:
    rows: torch.Tensor
    total: torch.Tensor


@frozen
class Honest:
    """The squared gradient of the loss by the weights that write a node, by position."""

    reads: ClassVar = "model"
    passes: ClassVar = "1 gradient"

    def floats(self, layout):
        return layout.folds * (layout.width + 1)

    def start(self, layout):
        return {"rows": zeros(layout), "total": zeros(layout, layout.width)}

    def visit(self, visit, states):
        weight = visit.model.layer.weight
        for row in range(visit.batch.rows):
            one = visit.batch.rows_where(torch.arange(visit.batch.rows) == row)
            with torch.enable_grad():
                weight.requires_grad_(True)
                loss = visit.loss(one.call(visit.model), one)
                (slope,) = torch.autograd.grad(loss.sum(), weight)
                weight.requires_grad_(False)
            for state in states.values():
                state["rows"][visit.fold] += self.counts(one)
                state["total"][visit.fold] += slope.square().sum(1)

    def counts(self, batch):
        return 1.0 if batch.mask is None or bool(batch.mask.any()) else 0.0

    def merge(self, state, other):
        add_fields(state, other)

    def summary(self, state, keep):
        rows = state["rows"][keep].sum().clamp(min=1.0)
        return Summary(rows, state["total"][keep].sum(0) / rows)


@frozen
class OfTheBatch(Honest):
    """It squares the gradient of a whole batch."""

    def visit(self, visit, states):
        weight = visit.model.layer.weight
        with torch.enable_grad():
            weight.requires_grad_(True)
            loss = visit.loss(visit.batch.call(visit.model), visit.batch)
            (slope,) = torch.autograd.grad(loss.sum(), weight)
            weight.requires_grad_(False)
        for state in states.values():
            state["rows"][visit.fold] += visit.batch.rows
            state["total"][visit.fold] += slope.square().sum(1)


@frozen
class LeavesGradients(Honest):
    """It forgets that the weight needed no gradient."""

    def visit(self, visit, states):
        super().visit(visit, states)
        visit.model.layer.weight.requires_grad_(True)


@frozen
class LeavesHook(Honest):
    """It forgets a hook."""

    def visit(self, visit, states):
        visit.model.layer.register_forward_hook(lambda *_: None)
        super().visit(visit, states)


@frozen
class MovesRandomness(Honest):
    """It draws from the global random state."""

    def visit(self, visit, states):
        torch.rand(1)
        super().visit(visit, states)


@frozen
class CountsPadding(Honest):
    """It counts rows of nothing but padding."""

    def counts(self, batch):
        return 1.0


@frozen
class Overwrites(Honest):
    """Its merge keeps the other state only."""

    def merge(self, state, other):
        state.update({name: value.clone() for name, value in other.items()})


@frozen
class Understates(Honest):
    """It says that it holds less than it does."""

    def floats(self, layout):
        return layout.width


def heavy(checks):
    """Leave out the check of imports: this file imports torch."""
    return [check for check in checks if "light import" not in check.name]


def test_an_honest_statistic_passes():
    assert failures(heavy(check_pass_statistic(Honest()))) == []


@pytest.mark.parametrize(
    ("statistic", "complaint"),
    [
        (OfTheBatch(), "rows one by one: visiting rows one by one changed"),
        (LeavesGradients(), "model unchanged: visit left requires_grad of layer.weight on"),
        (LeavesHook(), "model unchanged: visit left"),
        (MovesRandomness(), "model unchanged: visit moved the global random state"),
        (CountsPadding(), "padding is invisible: masked padding changed"),
        (Overwrites(), "any merge: merging parts changed"),
        (Understates(), "floats() is what a state holds: a state holds 32 values"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_wrong_one_is_named(statistic, complaint):
    assert any(complaint in line for line in failures(check_pass_statistic(statistic)))


def test_parameters_that_a_state_holds_are_not_in_floats():
    checks = check_pass_statistic(Understates(), holds_parameters=True)
    assert failures(heavy(checks)) == []


@frozen
class Slope:
    """The squared gradient by the weights that write a node."""

    info = MetricInfo(
        formula="E‖dL/dw‖²",
        unit="(loss / weight)²",
        higher_is_better=True,
        dead_nodes="lowest",
        invariances=frozenset({"functional"}),
    )
    statistics = (Honest(),)

    def score(self, group):
        return group[Honest()].total


def test_a_metric_with_passes_of_its_own_is_checked_like_any_other():
    assert failures(heavy(check_metric(Slope))) == []


@pytest.mark.parametrize("rewriting", [None, *REWRITINGS])
def test_the_model_of_a_world_computes_what_the_world_says(rewriting):
    world = make_world() if rewriting is None else REWRITINGS[rewriting](make_world())
    model, batch = WorldModel(world).eval(), batch_of(world, slice(None))
    seen = {}
    model.layer.register_forward_hook(lambda _, __, output: seen.update(pre=output + model.offset))
    model.readout.register_forward_pre_hook(lambda _, args: seen.update(activation=args[0]))
    output = batch.call(model)
    torch.testing.assert_close(seen["pre"], world.pre)
    torch.testing.assert_close(seen["activation"], world.activation)
    error = output - model.wanted
    torch.testing.assert_close(error, residual(world), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(error @ world.outgoing, world.gradient, rtol=1e-6, atol=1e-6)


def test_the_gradient_before_the_nonlinearity_is_that_of_the_model():
    world = REWRITINGS["functional"](make_world())
    model, batch = WorldModel(world).eval(), batch_of(world, slice(None))
    pre = world.pre.clone().requires_grad_()
    model.layer.register_forward_hook(lambda *_: pre - model.offset)
    (slope,) = torch.autograd.grad(model.loss(batch.call(model), batch).sum(), pre)
    torch.testing.assert_close(slope, reading(world, "preactivation").gradient)


def test_what_must_come_before_is_visited_first():
    @frozen
    class Later(Honest):
        after: ClassVar = (Honest(),)

        def visit(self, visit, states):
            for name, state in states.items():
                earlier = visit.earlier[name][Honest()]
                state["rows"][visit.fold] += visit.batch.rows
                state["total"][visit.fold] += earlier["total"].sum(0) * visit.batch.rows

    world = make_world()
    total = accumulate(Honest(), world)["total"].sum(0)
    found = accumulate(Later(), world)
    torch.testing.assert_close(found["total"].sum(0), total * world.rows)
