"""How often everything was read, counted while a capture goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from attrs import asdict, define, field, fields


@define(eq=False)
class Counts:
    """Counts of what was read; those of several processes or passes add up.

    `fired` is how often each site was read, `beyond` how many calls of a module came after the last
    one that its sites know. `positions` are the samples at each site of which some statistics see a
    share (`CapturePlan.position_fraction`), `chosen` those that they saw.
    """

    fired: Counter[str] = field(factory=Counter)
    beyond: Counter[str] = field(factory=Counter)
    positions: Counter[str] = field(factory=Counter)
    chosen: Counter[str] = field(factory=Counter)

    @classmethod
    def of_json(cls, counts: Mapping[str, Mapping[str, int]]) -> Counts:
        """Return the counts that `as_json` gave."""
        return cls(**{name: Counter(each) for name, each in counts.items()})

    def as_json(self) -> dict[str, dict[str, int]]:
        """Return the counts as JSON values."""
        return asdict(self)

    def add(self, other: Counts) -> None:
        """Add the counts of another pass or process."""
        for each in fields(Counts):
            getattr(self, each.name).update(getattr(other, each.name))

    @property
    def share(self) -> float:
        """The share of the samples that was chosen, of all sites together; 1 if none was asked."""
        total = self.positions.total()
        return self.chosen.total() / total if total else 1.0
