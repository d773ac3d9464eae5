"""Gradient of the whole loss and its product with the Hessian, summed by node.

Two passes over the data: the second needs the gradient of all rows, which the first adds up. Both
are kept by fold, and every fold's Hessian is multiplied with every fold's gradient, so that leaving
a fold out leaves it out of both factors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from nodelens.channels.groups import Role
    from nodelens.interfaces.statistic import Layout, State, Visit

_WEIGHTS: tuple[Role, ...] = ("producer", "consumer")
_GRADIENT = "gradient "


@frozen
class GradientSum:
    """The gradient of the summed loss by all weights, by fold.

    The state of the first group that owns a weight holds the weight's gradient, under ``gradient``
    and the parameter's name. Beyond `floats` the states need the memory of all weights in float64,
    once per fold.
    """

    reads: ClassVar[Literal["model"]] = "model"
    passes: ClassVar[str] = "1 gradient by the weights"

    def floats(self, layout: Layout) -> int:
        """One count per fold; the layout does not know the size of the gradient."""
        return layout.folds

    def start(self, layout: Layout) -> State:
        """Return an empty state."""
        from nodelens.statistics.rows import zeros

        return {"rows": zeros(layout)}

    def visit(self, visit: Visit, states: dict[str, State]) -> None:
        """Add the gradient of the rows."""
        from nodelens_metrics.curvature.hessian_products import gradient
        from nodelens_metrics.curvature.parameter_slices import counted_rows, differentiable, owned

        groups = [visit.graph[name] for name in states]
        parameters = owned(visit.model, visit.graph, groups, _WEIGHTS)
        with differentiable(parameters, visit.graph.computed) as substitution:
            total = visit.loss(visit.batch.call(visit.model), visit.batch).sum()
            found = gradient(total, [*parameters.values()])
        substitution.mark_missed(dict(zip(parameters, found, strict=True)))
        for state in states.values():
            state["rows"][visit.fold] += counted_rows(visit.batch)
        for name, value in zip(parameters, found, strict=True):
            state = states[_home(name, visit, states)]
            key, rows = f"{_GRADIENT}{name}", state["rows"]
            if key not in state:
                state[key] = rows.new_zeros(len(rows), *value.shape)
            state[key][visit.fold] += value.to(rows)

    def merge(self, state: State, other: State) -> None:
        """Add the gradients and counts."""
        for name, value in other.items():
            added = value.to(state["rows"].device)
            state[name] = state[name] + added if name in state else added

    def summary(self, state: State, keep: Tensor) -> Tensor:
        """Return the number of rows."""
        return state["rows"][keep].sum()


def _home(parameter: str, visit: Visit, states: Mapping[str, State]) -> str:
    """Return the first group that owns slices of a parameter."""
    return next(
        name
        for name in states
        if any(part.parameter == parameter for part in visit.graph[name].weights(*_WEIGHTS))
    )


@frozen(eq=False)
class FlowSummary:
    """Sums of θ·Hg over a node's weights by role, ``(roles, nodes)`` float64, of the mean loss."""

    rows: Tensor
    product: Tensor


@frozen
class GradientFlow:
    """θ∘Hg summed over the slices of each node, with g from `GradientSum`."""

    reads: ClassVar[Literal["model"]] = "model"
    passes: ClassVar[str] = "1 gradient, and 1 product of the Hessian with each fold's gradient"
    after: ClassVar[tuple[GradientSum, ...]] = (GradientSum(),)

    def floats(self, layout: Layout) -> int:
        """One sum per role, node and pair of folds, one count per fold."""
        from nodelens_metrics.curvature.parameter_slices import ROLES

        return layout.folds * (layout.folds * len(ROLES) * layout.width + 1)

    def start(self, layout: Layout) -> State:
        """Return empty sums; the folds are those of the Hessian, then of the gradient."""
        from nodelens.statistics.rows import zeros
        from nodelens_metrics.curvature.parameter_slices import ROLES

        product = zeros(layout, layout.folds, len(ROLES), layout.width)
        return {"rows": zeros(layout), "product": product}

    def visit(self, visit: Visit, states: dict[str, State]) -> None:
        """Add θ∘Hg of the rows' Hessian and the gradient of every fold."""
        from nodelens_metrics.curvature.hessian_products import product_with
        from nodelens_metrics.curvature.parameter_slices import (
            by_role,
            counted_rows,
            differentiable,
            owned,
        )

        groups = [visit.graph[name] for name in states]
        parameters = owned(visit.model, visit.graph, groups, _WEIGHTS)
        gradients = _gradients(visit, parameters)
        with differentiable(parameters, visit.graph.computed) as substitution:
            product = product_with(
                "hessian", visit.model, visit.batch, visit.loss, [*parameters.values()]
            )
            for fold, direction in enumerate(gradients):
                flow = _flow(parameters, product(direction))
                substitution.mark_missed(flow)
                for group in groups:
                    into = states[group.name]["product"][visit.fold, fold]
                    into += by_role(group, visit.model, flow, _WEIGHTS).to(into.device)
        for state in states.values():
            state["rows"][visit.fold] += counted_rows(visit.batch)

    def merge(self, state: State, other: State) -> None:
        """Add the sums, which must come from one gradient of all rows."""
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> FlowSummary:
        """Return the product of mean Hessian and mean gradient over the kept folds."""
        rows = state["rows"][keep].sum().clamp(min=1.0)
        return FlowSummary(rows, state["product"][keep][:, keep].sum((0, 1)) / rows.square())


def _gradients(visit: Visit, parameters: Mapping[str, Tensor]) -> list[list[Tensor]]:
    """Return the gradient of every fold, one tensor per parameter."""
    states = [found[GradientSum()] for found in visit.earlier.values() if GradientSum() in found]
    found = {name: value for state in states for name, value in state.items()}
    folds = [found[f"{_GRADIENT}{name}"].unbind() for name in parameters]
    values = [*parameters.values()]
    return [
        [gradient.to(each) for gradient, each in zip(fold, values, strict=True)]
        for fold in zip(*folds, strict=True)
    ]


def _flow(parameters: Mapping[str, Tensor], product: list[Tensor]) -> dict[str, Tensor]:
    """Return θ∘Hg by parameter, float64."""
    return {
        name: each.detach().double() * value.double()
        for (name, each), value in zip(parameters.items(), product, strict=True)
    }
