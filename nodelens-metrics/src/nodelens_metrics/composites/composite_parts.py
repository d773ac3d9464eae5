"""Parts of a composite metric, and scales on which values of different units can be added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from attrs import Attribute
    from torch import Tensor

By = Literal["rank", "standard"]


@frozen
class CompositePart:
    """One metric of a composite.

    Attributes:
        name: the metric's name in the results of the run: its label, if it has one.
        weight: the part's weight in the sum.
    """

    name: str
    weight: float = field(default=1.0, validator=validators.gt(0.0))


def as_parts(parts: Sequence[CompositePart | str]) -> tuple[CompositePart, ...]:
    """Return the parts; a plain name has weight 1."""
    return tuple(CompositePart(part) if isinstance(part, str) else part for part in parts)


def check_names(
    instance: object, attribute: Attribute[Any], value: Sequence[CompositePart | str]
) -> None:
    """Raise `ValueError` unless there are parts and each metric is named once."""
    names = Counter(part.name for part in as_parts(value))
    if not names:
        raise ValueError(f"'{attribute.name}' must name at least one metric")
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(
            f"'{attribute.name}' must name each metric once, got {', '.join(twice)} several times; "
            "give a weight instead"
        )


def comparable(importance: Tensor, by: By) -> Tensor:
    """Return values without a unit, ``(nodes,)``: rank fractions, or standard scores."""
    return rank_fractions(importance) if by == "rank" else standard_scores(importance)


def rank_fractions(values: Tensor) -> Tensor:
    """Return average ranks scaled to [0, 1]; equal values have one rank, a single node gets ½."""
    import torch

    ordered = values.sort().values
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    rank = 0.5 * (below + upto - 1).double()
    return rank / (len(values) - 1) if len(values) > 1 else rank + 0.5


def standard_scores(values: Tensor) -> Tensor:
    """Return distances from the mean in standard deviations; 0 where all values are equal."""
    from nodelens_metrics.mathematics.arithmetic import ratio, varies

    centred, variance = values - values.mean(), values.var(correction=0)
    spread = variance.sqrt().where(varies(values.mean(), variance), 0.0)
    return ratio(centred, spread.expand_as(centred))
