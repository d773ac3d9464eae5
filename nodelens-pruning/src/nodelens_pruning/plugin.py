"""The pruning methods of this distribution, described; each is imported when a config names it."""

from __future__ import annotations

from nodelens.plugins.hookspecs import hookimpl
from nodelens.plugins.specs import PrunerSpec

_METHODS = {
    "magnitude": ("Magnitude", "Smallest L1 norm of the incoming weights goes first."),
    "taylor": ("Taylor", "Smallest estimated loss change goes first, over all groups."),
    "random": ("Random", "Nodes go at random; what any method has to beat."),
    "by_score": ("ByScore", "Lowest score of any metric goes first."),
}


@hookimpl
def nodelens_register_pruners() -> list[PrunerSpec]:
    """Return all pruning methods."""
    return [
        PrunerSpec(name=name, target=f"nodelens_pruning.methods:{target}", summary=summary)
        for name, (target, summary) in _METHODS.items()
    ]
