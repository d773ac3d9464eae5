"""``nodelens plugins``: the installed plugins, their status, and a check of their imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from attrs import frozen

from nodelens.cli.layout import columns, echo, echo_json
from nodelens.cli.lazy import checked_command
from nodelens.config.options import option_fields
from nodelens.errors import NodelensError
from nodelens.plugins.registry import Offer, Registry
from nodelens.plugins.specs import PLURALS

if TYPE_CHECKING:
    from nodelens.cli.session import Session
    from nodelens.plugins.manager import Plugins
    from nodelens.plugins.plugin_record import PluginRecord


@frozen
class TargetCheck:
    """The check of one offered target; `problem` is empty where the target can be used."""

    offer: Offer
    problem: str

    def summary(self) -> dict[str, str | None]:
        """Return the check as JSON values."""
        return {
            "kind": self.offer.spec.kind,
            "name": self.offer.qualified,
            "target": self.offer.spec.target,
            "problem": self.problem or None,
        }


@click.command(short_help="List plugins and their status.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--check", "checking", is_flag=True, help="Import everything that they offer.")
@click.pass_obj
def plugins(session: Session, as_json: bool, checking: bool) -> None:
    """List the installed plugins with their status.

    With --check everything that they offer is imported; the exit code is 1 if anything fails.
    """
    loaded = session.survey()
    checks = _checks(loaded.registry) if checking else []
    if as_json:
        echo_json(_as_json(loaded, checks, checking))
    else:
        echo(_as_text(loaded, checks))
    if checking and not _all_well(loaded, checks):
        raise click.exceptions.Exit(1)


def _checks(registry: Registry) -> list[TargetCheck]:
    return [TargetCheck(offer, _problem(registry, offer)) for offer in registry.offers]


def _problem(registry: Registry, offer: Offer) -> str:
    """Return the reason why a target cannot be used; empty if there is none."""
    try:
        target = registry.load(offer)
        if offer.spec.kind == "command":
            checked_command(target, offer)
        elif offer.spec.kind == "operator":
            registry.operator(offer)
        else:
            option_fields(registry.checked(offer, target))
    except NodelensError as error:
        return str(error)
    return ""


def _all_well(loaded: Plugins, checks: list[TargetCheck]) -> bool:
    failed = any(record.status == "failed" for record in loaded.records)
    return not failed and not any(check.problem for check in checks)


def _as_json(loaded: Plugins, checks: list[TargetCheck], checking: bool) -> dict[str, object]:
    result: dict[str, object] = {"plugins": [record.summary() for record in loaded.records]}
    if checking:
        result["checks"] = [check.summary() for check in checks]
    return result


def _as_text(loaded: Plugins, checks: list[TargetCheck]) -> str:
    parts = [_table(loaded.records)]
    if checks:
        lines = [
            (check.offer.spec.kind, check.offer.qualified, check.problem or "ok")
            for check in checks
        ]
        parts.append(columns(lines))
    return "\n\n".join(parts)


def _table(records: Sequence[PluginRecord]) -> str:
    """Return each distribution with a line for each of its plugins, all columns aligned."""
    sizes = [max(len(record.entry) for record in records), len("blocked")]
    blocks: dict[str, list[tuple[str, ...]]] = {}
    for record in records:
        row = (record.entry.ljust(sizes[0]), record.status.ljust(sizes[1]))
        title = f"{record.distribution} {record.version}"
        blocks.setdefault(title, []).append((*row, record.reason or _counts(record)))
    return "\n\n".join(f"{title}\n{columns(rows, 2)}" for title, rows in blocks.items())


def _counts(record: PluginRecord) -> str:
    words = [
        f"{count} {kind if count == 1 else PLURALS[kind]}" for kind, count in record.counts.items()
    ]
    return ", ".join(words) or "hooks only"
