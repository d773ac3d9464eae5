"""What a comparison of the removed with the masked model has shown, group by group."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

Status = Literal["exact", "shifted", "refused"]


@frozen
class Verdict:
    """How the model without some nodes of a group compares with the model in which they are masked.

    On the example inputs, in evaluation mode: what the forward does on other shapes, on other
    values or in training only is not compared.

    ``exact``: the outputs agree to rounding. ``shifted``: the number of nodes enters the model's
    arithmetic (a LayerNorm over them), and the outputs moved by `difference`; they agree with the
    masked model whose averages leave the nodes out. ``refused``: the nodes cannot be removed, for
    `reason`. `difference` is the largest absolute difference relative to the largest output.
    """

    group: str
    width: int
    removed: int
    status: Status
    difference: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        text = {
            "exact": "exact",
            "shifted": f"shifted by {self.difference or 0:.2g} (normalised)",
            "refused": f"refused because {self.reason}",
        }[self.status]
        return f"{self.group}: {self.removed} of {self.width} nodes: {text}"
