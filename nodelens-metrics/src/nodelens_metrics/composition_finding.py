"""Shares of the parts in a composite's ranking, as a finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from attrs import frozen

from nodelens.analyses.ranks import spearman
from nodelens.errors import ConfigError, UnknownNameError
from nodelens.reports.parts import Finding, Heatmap, Table
from nodelens_metrics.parts import as_parts, comparable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nodelens.scoring.scores import Scores
    from nodelens_metrics.composition import Composition

_NOTE = (
    "Share: covariance of a part's contributions with the composite over the composite's variance, "
    "within groups; the shares add up to 1. Spearman: of the part with the composite. Means over "
    "groups, weighted by nodes; groups whose nodes all have one composite score are left out."
)


@frozen(eq=False)
class _Group:
    """Contributions ``(parts, nodes)`` and what they add up to, ``(nodes,)``."""

    contributions: NDArray[np.float64]
    total: NDArray[np.float64]

    @property
    def shares(self) -> NDArray[np.float64] | None:
        """The shares of the parts, None where the composite does not vary."""
        centred = self.total - self.total.mean()
        variance = float(centred @ centred)
        if variance <= 0.0:
            return None
        shares: NDArray[np.float64] = self.contributions @ centred / variance
        return shares

    def agreement(self, part: int) -> float | None:
        """Return the rank correlation of a part with the composite."""
        return spearman(self.contributions[part], self.total)


def composition(scores: Scores, settings: Composition) -> Finding:
    """Return what each part gives a composite; raises as `Composition.analyse` does."""
    groups = {group: _group(scores, settings, group) for group in scores.of(settings.composite)}
    if not groups:
        scores[settings.composite, next(iter(scores.groups), "")]
    table = _table(groups, settings)
    names = [part.name for part in as_parts(settings.parts)]
    return Finding(
        kind="analysis",
        name="composition",
        title=f"What {settings.composite} is made of",
        headline=_headline(table),
        tables=(table,),
        plots=(_heatmap(groups, names),),
        data={
            "composite": settings.composite,
            "contributions": {
                group: dict(zip(names, found.contributions.tolist(), strict=True))
                for group, found in groups.items()
            },
        },
    )


def _group(scores: Scores, settings: Composition, group: str) -> _Group:
    parts = as_parts(settings.parts)
    total = sum(part.weight for part in parts)
    rows = []
    for part in parts:
        if (part.name, group) not in scores:
            raise UnknownNameError(
                f"{part.name!r} has no scores on {group}, {settings.composite!r} has"
            )
        importance = torch.from_numpy(scores[part.name, group].importance().copy())
        rows.append(part.weight / total * comparable(importance, settings.by).numpy())
    found = _Group(np.stack(rows), scores[settings.composite, group].values)
    if not np.allclose(found.contributions.sum(0), found.total, rtol=0.0, atol=1e-9):
        raise ConfigError(
            [
                f"composition: the parts do not add up to the scores of {settings.composite!r}; "
                "give the same parts, weights and by as to the composite"
            ]
        )
    return found


def _table(groups: Mapping[str, _Group], settings: Composition) -> Table:
    varying = [group for group in groups.values() if group.shares is not None]
    nodes = [len(group.total) for group in varying]
    rows = []
    for at, part in enumerate(as_parts(settings.parts)):
        shares = [float(group.shares[at]) for group in varying if group.shares is not None]
        agreements = [group.agreement(at) for group in varying]
        rows.append((part.name, part.weight, _mean(shares, nodes), _mean(agreements, nodes)))
    columns = ("part", "weight", "share", "spearman")
    return Table("composition", "Parts of the composite", columns, tuple(rows), _NOTE)


def _mean(values: list[float] | list[float | None], nodes: list[int]) -> float | None:
    """Return the mean weighted by nodes, of what is known."""
    known = [(value, size) for value, size in zip(values, nodes, strict=True) if value is not None]
    total = sum(size for _, size in known)
    return sum(value * size for value, size in known) / total if total else None


def _headline(table: Table) -> tuple[str, ...]:
    known = [(str(row[0]), row[2]) for row in table.rows if isinstance(row[2], float)]
    if not known:
        return ("the composite is constant in every group",)
    name, share = max(known, key=lambda row: row[1])
    return (f"largest share: {name}, {share:.0%} of the composite's variance within groups",)


def _heatmap(groups: Mapping[str, _Group], names: list[str]) -> Heatmap:
    columns = tuple(groups)
    shares = [groups[group].shares for group in columns]
    values = tuple(
        tuple(None if share is None else float(share[at]) for share in shares)
        for at in range(len(names))
    )
    return Heatmap(
        "composition", "Share of each part by group", tuple(names), columns, values, _NOTE
    )
