"""Fractions of a composite's variance by part, as a finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nodelens.analyses.ranks import spearman
from nodelens.errors import ConfigError
from nodelens.findings.finding import Finding, Heatmap, Table

if TYPE_CHECKING:
    from nodelens.scoring.scores import Score, Scores

_NOTE = (
    "Fraction: covariance of a part's contributions with the composite over the composite's "
    "variance, within groups; the fractions add up to 1. Spearman: of the part with the composite. "
    "Means over groups, weighted by nodes; groups with one composite score are left out."
)


def composition(scores: Scores, composite: str) -> Finding:
    """Return the finding of a composite; raises as `Composition.analyse` does."""
    groups = scores.of(composite)
    if not groups:
        scores[composite, next(iter(scores.groups), "")]
    parts = tuple(next(iter(groups.values())).contributions)
    if not parts:
        raise ConfigError([f"composition: {composite!r} is not made of other metrics"])
    fractions = {group: _fractions(score) for group, score in groups.items()}
    table = _table(groups, fractions, parts)
    return Finding(
        kind="analysis",
        name="composition",
        title=f"Parts of {composite}",
        headline=_headline(table),
        tables=(table,),
        plots=(_heatmap(fractions, parts),),
        data={
            "composite": composite,
            "contributions": {
                group: {part: each.tolist() for part, each in score.contributions.items()}
                for group, score in groups.items()
            },
        },
    )


def _fractions(score: Score) -> dict[str, float] | None:
    """Return the fractions of the parts, None where the composite does not vary."""
    centred = score.values - score.values.mean()
    variance = float(centred @ centred)
    if variance <= 0.0:
        return None
    return {part: float(each @ centred) / variance for part, each in score.contributions.items()}


def _table(
    groups: Mapping[str, Score],
    fractions: Mapping[str, dict[str, float] | None],
    parts: tuple[str, ...],
) -> Table:
    varying = {name: found for name, found in fractions.items() if found is not None}
    nodes = [len(groups[name].values) for name in varying]
    rows = []
    for part in parts:
        agreements = [
            spearman(groups[name].contributions[part], groups[name].values) for name in varying
        ]
        fraction = _mean([found[part] for found in varying.values()], nodes)
        rows.append((part, fraction, _mean(agreements, nodes)))
    columns = ("part", "fraction", "spearman")
    return Table("composition", "Parts of the composite", columns, tuple(rows), _NOTE)


def _mean(values: list[float] | list[float | None], nodes: list[int]) -> float | None:
    """Return the mean over known values, weighted by nodes."""
    known = [(value, size) for value, size in zip(values, nodes, strict=True) if value is not None]
    total = sum(size for _, size in known)
    return sum(value * size for value, size in known) / total if total else None


def _headline(table: Table) -> tuple[str, ...]:
    known = [(str(row[0]), row[1]) for row in table.rows if isinstance(row[1], float)]
    if not known:
        return ("the composite is constant in every group",)
    name, fraction = max(known, key=lambda row: row[1])
    return (f"largest fraction: {name}, {fraction:.0%} of the composite's variance within groups",)


def _heatmap(fractions: Mapping[str, dict[str, float] | None], parts: tuple[str, ...]) -> Heatmap:
    values = tuple(
        tuple(None if found is None else found[part] for found in fractions.values())
        for part in parts
    )
    return Heatmap(
        "composition", "Fraction of each part by group", parts, tuple(fractions), values, _NOTE
    )
