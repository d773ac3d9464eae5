"""``nodelens plan``: what a run would read, how often, and in how much memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nodelens.cli.configured import ALLOW_IMPORT, CONFIG, OVERRIDES, checked_configs
from nodelens.cli.session import Session

if TYPE_CHECKING:
    from nodelens.capture.plan import CapturePlan
    from nodelens.config.schema import RunConfig
    from nodelens.experiments.setup import Chosen, Subject


@click.command()
@CONFIG
@OVERRIDES
@ALLOW_IMPORT
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_obj
def plan(
    session: Session,
    config: Path,
    overrides: tuple[str, ...],
    allow_import: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what a run of CONFIG would do, without doing it.

    Loads the data, builds the untrained model and infers its channel groups; prints the sites that
    would be read, the statistics, the passes over the data and their memory.
    """
    configs, plugins = checked_configs(session, config, overrides)
    from nodelens.experiments.setup import (
        choose_device,
        choose_metrics,
        load_subject,
        plan_capture,
    )

    plans: list[dict[str, Any]] = []
    for each in configs:
        chosen = choose_metrics(each, plugins.registry)
        subject = load_subject(each, plugins, choose_device(each.device), allow_import)
        plans.append(_as_json(each, subject, chosen, plan_capture(each, subject, chosen)))
    if as_json:
        click.echo(json.dumps(plans, indent=2))
    else:
        click.echo("\n\n".join("\n".join(_as_text(each)) for each in plans))


def _as_json(
    config: RunConfig, subject: Subject, chosen: Chosen, capture: CapturePlan
) -> dict[str, Any]:
    return {
        "name": config.name,
        "model": subject.handle.origin,
        "samples": {
            "train": len(subject.splits.train),
            "validation": len(subject.splits.validation),
            "test": len(subject.splits.test),
            "calibration": len(subject.calibration),
        },
        "metrics": list(chosen.metrics),
        "passes": capture.passes,
        "backward": capture.gradient,
        "folds": capture.folds,
        "bytes": capture.bytes,
        "groups": [
            {
                "name": entry.group.name,
                "width": entry.group.width,
                "prunable": entry.group.prunable,
                "frozen": entry.group.frozen,
                "sites": [
                    site.name
                    for tap in ("activation", "preactivation")
                    if any(s.tap == tap for s in entry.statistics)
                    for site in entry.group.at(tap)
                ],
                "statistics": [str(statistic) for statistic in entry.statistics],
                "bytes": capture.bytes_of(entry),
            }
            for entry in capture.entries
        ],
        "unread": dict(capture.unread),
    }


def _as_text(plan: dict[str, Any]) -> Iterator[str]:
    samples = ", ".join(f"{count} {name}" for name, count in plan["samples"].items())
    direction = "forward and backward" if plan["backward"] else "forward only"
    passes = f"{plan['passes']} ({direction})" if plan["passes"] else "none: weights are enough"
    yield f"{plan['name']}: {plan['model']}"
    yield f"  samples    {samples}"
    yield f"  metrics    {len(plan['metrics'])}"
    yield f"  passes     {passes}, {plan['folds']} folds"
    yield f"  memory     {_size(plan['bytes'])} of statistics"
    for group in plan["groups"]:
        frozen = "" if group["prunable"] else f", frozen: {group['frozen']}"
        yield ""
        yield f"{group['name']}: {group['width']} nodes, {_size(group['bytes'])}{frozen}"
        yield from (f"  read at    {site}" for site in group["sites"])
        yield from (f"  statistic  {name}" for name in group["statistics"])
    for name, reason in plan["unread"].items():
        yield ""
        yield f"{name}: not scored, {reason}"


def _size(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.1f} GiB"
