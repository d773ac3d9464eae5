"""``nodelens metrics`` and the other listings: one implementation for every kind of component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from nodelens.cli.explanation import explain, explanation_text
from nodelens.cli.layout import columns, echo, echo_json
from nodelens.cli.metric_costs import level_and_cost
from nodelens.config.schema import is_pattern
from nodelens.plugins.specs import PLURALS, Kind, MetricSpec

if TYPE_CHECKING:
    from nodelens.cli.session import Session
    from nodelens.plugins.registry import Offer, Registry

_HELP = """List {plural}, or explain some.

Without arguments all {plural} are listed; a PATTERN with wildcards ('*' and '?', in quotes) lists
those that match, metrics with level and cost. An exact name shows what it is, its options and where
it comes from.
"""


def listing(kind: Kind) -> click.Command:
    """Return the command that lists the components of one kind."""
    plural = PLURALS[kind]

    @click.command(plural, help=_HELP.format(plural=plural))
    @click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.pass_obj
    def command(session: Session, patterns: tuple[str, ...], as_json: bool) -> None:
        registry = session.plugins().registry
        if patterns and not any(is_pattern(pattern) for pattern in patterns):
            _explain_all(registry, kind, patterns, as_json)
        else:
            offers = _matching(registry, kind, patterns or ("*",))
            facts = {offer: _facts(registry, offer) if patterns else {} for offer in offers}
            _list(facts, kind, as_json)

    return command


def _explain_all(registry: Registry, kind: Kind, names: Sequence[str], as_json: bool) -> None:
    explanations = [explain(registry, registry.offer(kind, name)) for name in names]
    if as_json:
        echo_json(explanations)
    else:
        echo("\n\n".join(explanation_text(each) for each in explanations))


def _matching(registry: Registry, kind: Kind, patterns: Sequence[str]) -> list[Offer]:
    """Return the offers that any pattern matches; raises `UnknownNameError` if one matches none."""
    found: dict[Offer, None] = {}
    for pattern in patterns:
        match = registry.match if pattern == "*" else registry.matched
        found.update(dict.fromkeys(match(kind, pattern)))
    return list(found)


def _list(offers: Mapping[Offer, Mapping[str, str]], kind: Kind, as_json: bool) -> None:
    if as_json:
        echo_json([_brief(offer, facts) for offer, facts in offers.items()])
        return
    if not offers:
        echo(f"no plugin offers {PLURALS[kind]}; see: nodelens plugins", err=True)
        return
    names = [offer.name for offer in offers]
    families: dict[str, list[tuple[str, ...]]] = {}
    for offer, facts in offers.items():
        shown = offer.name if names.count(offer.name) == 1 else offer.qualified
        row = (shown, *facts.values(), offer.spec.summary)
        families.setdefault(offer.family, []).append(row)
    rows = [row for several in families.values() for row in several]
    sizes = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    blocks = [_block(family, rows, sizes) for family, rows in sorted(families.items())]
    echo("\n\n".join(blocks))


def _block(family: str, rows: Sequence[tuple[str, ...]], sizes: Sequence[int]) -> str:
    """Return the text of one family under its title; kinds without families have no title."""
    cells = [
        (*(cell.ljust(size) for cell, size in zip(row[:-1], sizes, strict=True)), row[-1])
        for row in rows
    ]
    text = columns(cells, 2 if family else 0)
    return f"{family}\n{text}" if family else text


def _facts(registry: Registry, offer: Offer) -> dict[str, str]:
    """Return level and cost of a metric, whose module is imported; empty for other kinds."""
    if not isinstance(offer.spec, MetricSpec):
        return {}
    level, cost = level_and_cost(registry, offer)
    return {"level": level, "cost": cost}


def _brief(offer: Offer, facts: Mapping[str, str]) -> dict[str, str]:
    family = {"family": offer.family} if offer.family else {}
    return {
        "name": offer.name,
        "kind": offer.spec.kind,
        **family,
        **facts,
        "summary": offer.spec.summary,
        "distribution": offer.distribution,
        "version": offer.version,
    }


metrics = listing("metric")
backends = listing("backend")
datasets = listing("dataset")
losses = listing("loss")
analyses = listing("analysis")
interventions = listing("intervention")
evaluations = listing("evaluation")
pruners = listing("pruner")
recoveries = listing("recovery")
reports = listing("report")
operators = listing("operator")
