"""Counts of reads per site, kept while a capture runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from attrs import asdict, define, field, fields


@define(eq=False)
class Counts:
    """Counts of reads by site; the counts of several processes or passes add up.

    `fired` is how often each site was read, `beyond` how many calls of a module came after the last
    one that its sites know. `positions` counts the samples at each site of which some statistics
    read a fraction (`CapturePlan.position_fraction`), `chosen` the samples that they have read.
    """

    fired: Counter[str] = field(factory=Counter)
    beyond: Counter[str] = field(factory=Counter)
    positions: Counter[str] = field(factory=Counter)
    chosen: Counter[str] = field(factory=Counter)

    @classmethod
    def of_json(cls, counts: Mapping[str, Mapping[str, int]]) -> Counts:
        """Return the counts of JSON values from `as_json`."""
        return cls(**{name: Counter(each) for name, each in counts.items()})

    def as_json(self) -> dict[str, dict[str, int]]:
        """Return the counts as JSON values."""
        return asdict(self)

    def add(self, other: Counts) -> None:
        """Add the counts of another pass or process."""
        for each in fields(Counts):
            getattr(self, each.name).update(getattr(other, each.name))

    @property
    def fraction(self) -> float:
        """The fraction of the samples that was chosen, over all sites; 1 where all are used."""
        total = self.positions.total()
        return self.chosen.total() / total if total else 1.0
