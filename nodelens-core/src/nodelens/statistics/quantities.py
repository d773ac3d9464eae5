"""The quantity that a statistic is about: activation, gradient, or their product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, State

Quantity = Literal["value", "gradient", "gate"]
"""The activation, dL/da, or q = a·g, the sum over a node's components."""


def needs_of(of: Quantity) -> frozenset[Need]:
    """Return the requirements of a statistic of a quantity."""
    return frozenset() if of == "value" else frozenset({"gradient"})


def quantity_of(reading: Reading, of: Quantity) -> Tensor:
    """Return the quantity, ``(rows, samples, nodes)``, in the reading's precision or better."""
    if of == "value":
        return reading.values
    assert reading.gradient is not None
    if of == "gradient":
        return reading.gradient
    from nodelens.statistics.rows import over_components, upcast

    gates = upcast(reading.values) * upcast(reading.gradient)
    return over_components(gates, reading.components)


def width_of(layout: Layout, of: Quantity) -> int:
    """Return how many numbers the quantity has at a position: a gate is one number of a node."""
    return layout.nodes if of == "gate" else layout.width


def row_quantity(reading: Reading, of: Literal["value", "gate"]) -> Tensor:
    """Return the mean of a row's values, or the sum of its gates, ``(rows, nodes)`` float64."""
    from nodelens.statistics.moments import row_means
    from nodelens.statistics.sums import gate_sums

    return row_means(reading) if of == "value" else gate_sums(reading)


def pivot_for(state: State, reading: Reading, of: Quantity) -> Tensor:
    """Return the pivot of the quantity; gradients scatter about 0, so theirs is 0."""
    from nodelens.statistics.rows import pivot_of

    if of == "value":
        return pivot_of(state, reading)
    width = reading.values.shape[-1] // (reading.components if of == "gate" else 1)
    return state.setdefault("pivot", reading.values.new_zeros(width).double())


def counted_samples(reading: Reading, samples: int, fraction: float = 1.0) -> Tensor | None:
    """Return True for samples that count, ``(rows, samples)`` of bool; None if all do.

    Padding does not count; of the others a random fraction does, by their number in the data.
    """
    from nodelens.statistics.sample_draws import chosen_samples

    counted = reading.valid
    if fraction < 1.0:
        chosen = chosen_samples(reading, samples, fraction)
        counted = chosen if counted is None else counted & chosen
    return counted
