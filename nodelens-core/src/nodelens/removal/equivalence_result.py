"""The result of an equivalence check, the smaller against the masked model, for one group."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

EquivalenceStatus = Literal["exact", "shifted", "refused"]


@frozen
class EquivalenceResult:
    """The comparison of a model without some nodes of a group and the model with these masked.

    On the example, on other inputs made from it, and in training with every random draw a constant;
    `limits` says what could not be compared.

    ``exact``: the outputs agree to rounding. ``shifted``: they moved by `difference`, for `reason`:
    the number of nodes enters the model's arithmetic (a LayerNorm over them, ``normalised``), or
    means in biases meet padding; they agree with the masked model that takes account of this. A
    group that the model averages over is never exact: where no input moved, `reason` says so.
    ``refused``: the nodes cannot be removed, for `reason`. `difference` is the largest absolute
    difference relative to the largest output, over all inputs that were compared.
    """

    group: str
    width: int
    removed: int
    status: EquivalenceStatus
    difference: float | None = None
    reason: str = ""
    limits: tuple[str, ...] = ()

    @property
    def finding(self) -> str:
        """The result in words, without the group."""
        text = {
            "exact": "exact",
            "shifted": f"shifted by {self.difference or 0:.2g} ({self.reason})",
            "refused": f"refused because {self.reason}",
        }[self.status]
        return "; ".join([text, *self.limits])

    def __str__(self) -> str:
        return f"{self.group}: {self.removed} of {self.width} nodes: {self.finding}"
