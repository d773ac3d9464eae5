"""First- and second-order loss changes of deleting the weights of a node, by slices.

A slice is a node's part of one weight: its row in the weights that write it (of a gated unit, gate
and up projection), its column in those that read it. g_n = dL_n/dW is the gradient of the loss of
one row of data, summed over its positions. Biases and the scales of normalisations are left out. A
dead ReLU gets 0: no gradient reaches its producers, and its consumers multiply zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.gradients import RowGradients
from nodelens.statistics.weight_gradients import WeightGradients

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import ParameterSlice
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

Aggregate = Literal["sum", "prod", "max", "last"]
"""Reduction of a node's slices to one number; ``last`` takes the last weight that reads it."""

_AGGREGATES = validators.in_(("sum", "prod", "max", "last"))
_FUNCTIONAL = frozenset({"functional", "incoming_scale"})
_CODE = (
    "Ma et al. 2023, LLM-Pruner, 2305.11627, group importance; as in its code for layers other "
    "than attention, whose branch for attention does not compute what it says"
)


@frozen(eq=False)
class _Slice:
    """Slices of nodes of one weight, with E[g_n] and E[g_n²]: ``(nodes, weights)`` each."""

    weight: Tensor
    gradient: Tensor
    squares: Tensor


@frozen
class LLMPrunerElement:
    """Loss change of deleting a node's weights, absolute values summed weight by weight.

    The gradient is that of the mean loss of a row, summed over positions where the source takes the
    mean over tokens: with rows of one length the ranking is the same for ``first`` and ``second``.

    Attributes:
        order: ``first``, ``second`` (the squared gradients in place of the Hessian), or ``mix`` of
            both. The unit is a row's loss; for a token's loss the second order weighs T times less,
            with T tokens in a row.
        aggregate: reduction of the slices: ``sum``, ``prod``, ``max`` or ``last``.
    """

    info = MetricInfo(
        formula="first: Σ|w E[g_n]|; second: Σ w² E[g_n²]; mix: Σ|w E[g_n] − ½ w² E[g_n²]|",
        unit="loss",
        higher_is_better=True,
        source=f"{_CODE}; element-wise importance",
        dead_nodes="lowest",
        invariances=_FUNCTIONAL,
        heavy_tails=True,
    )
    statistics = (WeightGradients(),)

    order: Literal["first", "second", "mix"] = field(
        default="first", validator=validators.in_(("first", "second", "mix"))
    )
    aggregate: Aggregate = field(default="sum", validator=_AGGREGATES)

    def score(self, group: GroupView) -> Tensor:
        return _aggregated(group, self.aggregate, self._of)

    def _of(self, part: _Slice) -> Tensor:
        first, second = part.weight * part.gradient, part.weight.square() * part.squares
        if self.order == "mix":
            return (first - 0.5 * second).abs().sum(1)
        return (first if self.order == "first" else second).abs().sum(1)


@frozen
class LLMPrunerVector:
    """Absolute first-order loss change of deleting a slice of a node's weights as a whole.

    Weights of opposite sign cancel within a slice, not between slices.

    Attributes:
        aggregate: reduction of the slices: ``sum``, ``prod``, ``max`` or ``last``.
    """

    info = MetricInfo(
        formula="|Σ w E[g_n]| of each slice",
        unit="loss",
        higher_is_better=True,
        source=f"{_CODE}; vector-wise importance",
        dead_nodes="lowest",
        invariances=_FUNCTIONAL,
    )
    statistics = (WeightGradients(),)

    aggregate: Aggregate = field(default="sum", validator=_AGGREGATES)

    def score(self, group: GroupView) -> Tensor:
        return _aggregated(
            group, self.aggregate, lambda part: (part.weight * part.gradient).sum(1).abs()
        )


@frozen
class TaylorWeights:
    """Squared first-order loss change of deleting the weights that write a node, per row.

    `taylor` takes a gate after the nonlinearity instead. Joint, the bias is deleted as well.

    Attributes:
        joint: square the change of all weights of the node together; without it the squares of
            single weights are summed, as if they were independent.
    """

    info = MetricInfo(
        formula="E[Σ (g_n w)²]; joint: E[(Σ g_n w)²]",
        unit="loss²",
        higher_is_better=True,
        source=(
            "Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, 1906.10771, "
            "Taylor FO on weights, and its code; one gradient per row of data in place of a batch's"
        ),
        dead_nodes="lowest",
        invariances=_FUNCTIONAL | {"activation_shift"},
    )

    joint: bool = False

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (RowGradients(reads="preactivation"),) if self.joint else (WeightGradients(),)

    def score(self, group: GroupView) -> Tensor:
        import torch

        if self.joint:
            group.producer()
            _check_untied(group, group.group.weights("producer")[0])
            return group[RowGradients(reads="preactivation")].q2
        parts = [_slice(group, part) for part in group.group.weights("producer")]
        if not parts:
            raise NotApplicableError("no parameter writes these nodes")
        sums = [(part.weight.square() * part.squares).sum(1) for part in parts]
        return torch.stack(sums).sum(0)


def _aggregated(
    group: GroupView, aggregate: Aggregate, score: Callable[[_Slice], Tensor]
) -> Tensor:
    """Return one number per node from the numbers of its slices, producers first."""
    import torch

    scores = torch.stack([score(part) for part in _slices(group)])
    if aggregate == "prod":
        return scores.prod(0)
    if aggregate == "max":
        return scores.amax(0)
    return scores[-1] if aggregate == "last" else scores.sum(0)


def _slices(group: GroupView) -> Iterator[_Slice]:
    parts = (*group.group.weights("producer"), *group.group.weights("consumer"))
    if not parts:
        raise NotApplicableError("no weight writes or reads these nodes")
    for part in parts:
        yield _slice(group, part)


def _slice(group: GroupView, part: ParameterSlice) -> _Slice:
    """Return the nodes' slices of a weight; raises `NotApplicableError` without an owner."""
    if part.parameter.rpartition(".")[-1] != "weight":
        raise NotApplicableError(f"{part.parameter} is not the weight of a layer that can be read")
    _check_untied(group, part)
    found = group.at_module(WeightGradients(), part.module)
    shape = group.parameters[part.parameter].shape
    gradient, squares = (
        part.extent.nodes_first(_like(value, shape, part), part.axis)
        for value in (found.mean, found.mean_square)
    )
    return _Slice(group.slice_of(part), gradient, squares)


def _check_untied(group: GroupView, part: ParameterSlice) -> None:
    """Raise `NotApplicableError` if several modules multiply with the weight."""
    users = group.users(part.parameter)
    if len(users) > 1:
        raise NotApplicableError(f"{' and '.join(users)} share one weight, read one by one")


def _like(rows: Tensor, shape: tuple[int, ...], part: ParameterSlice) -> Tensor:
    """Return ``(outputs, fan_in)`` in the shape of its weight, which may be transposed."""
    transposed = part.axis == (1 if part.role == "producer" else 0)
    if len(shape) == 2 and transposed:
        return rows.T.contiguous()
    return rows.reshape(shape)
