"""Counts of reads per site, and the statistics that were lost, kept while a capture runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import asdict, define, field, fields


@define(eq=False)
class Counts:
    """Counts of reads by site; the counts of several processes or passes add up.

    `fired` is how often each site was read, `beyond` how many calls of a module came after the last
    one that its sites know. `positions` counts the samples at each site of which some statistics
    read a fraction (`CapturePlan.position_fraction`), `chosen` the samples that they have read.
    `lost` are the statistics of places that cannot be read, by `key_of`, with reasons; `broken`
    those whose own code raised.
    """

    fired: Counter[str] = field(factory=Counter)
    beyond: Counter[str] = field(factory=Counter)
    positions: Counter[str] = field(factory=Counter)
    chosen: Counter[str] = field(factory=Counter)
    lost: dict[str, str] = field(factory=dict)
    broken: dict[str, str] = field(factory=dict)

    @classmethod
    def of_json(cls, counts: Mapping[str, Mapping[str, Any]]) -> Counts:
        """Return the counts of JSON values from `as_json`."""
        found = cls()
        for name, each in counts.items():
            getattr(found, name).update(each)
        return found

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Return the counts as JSON values."""
        return asdict(self)

    def add(self, other: Counts) -> None:
        """Add the counts of another pass or process."""
        for each in fields(Counts):
            getattr(self, each.name).update(getattr(other, each.name))

    def lose(self, place: str, statistics: Iterable[object], reason: str) -> None:
        """Record that statistics of a place cannot be computed; the first reason counts."""
        for statistic in statistics:
            self.lost.setdefault(key_of(place, statistic), reason)

    def fail(self, place: str, statistic: object, error: Exception) -> None:
        """Record that the code of a statistic has raised."""
        reason = f"{statistic}: {type(error).__name__}: {error}"
        self.broken.setdefault(key_of(place, statistic), reason)

    def reason(self, place: str, statistic: object) -> str:
        """Return why a statistic of a place was lost; empty where it was not."""
        if not self.lost and not self.broken:
            return ""
        key = key_of(place, statistic)
        return self.lost.get(key, "") or self.broken.get(key, "")

    def without_lost(self, states: Mapping[str, dict[Any, Any]]) -> None:
        """Take the states of lost statistics out, which hold a part of the samples at most."""
        for place, found in states.items():
            for statistic in [each for each in found if self.reason(place, each)]:
                del found[statistic]

    @property
    def fraction(self) -> float:
        """The fraction of the samples that was chosen, over all sites; 1 where all are used."""
        total = self.positions.total()
        return self.chosen.total() / total if total else 1.0


def key_of(place: str, statistic: object) -> str:
    """Return the name of one statistic of one place, the same in every process."""
    return f"{place}: {statistic!r}"
