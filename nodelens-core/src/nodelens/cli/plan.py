"""``nodelens plan``: the statistics, passes and memory of a run, before the run starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nodelens.cli.configured import CONFIG, OVERRIDES, checked_configs, permitting
from nodelens.cli.layout import echo, echo_json

if TYPE_CHECKING:
    from nodelens.cli.session import Session
    from nodelens.interfaces.backend import Permissions


@click.command()
@CONFIG
@OVERRIDES
@permitting
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_obj
def plan(
    session: Session,
    config: Path,
    overrides: tuple[str, ...],
    allowed: Permissions,
    as_json: bool,
) -> None:
    """Show what a run of CONFIG would do, without doing it.

    Loads the data, builds the untrained model and infers its channel groups; prints the statistics
    of every place that would be read, the passes over the data, and the memory against the budget.
    """
    configs, plugins = checked_configs(session, config, overrides)
    from nodelens.cli.plan_description import plan_json, plan_text
    from nodelens.experiments.run_components import choose_metrics, plan_capture
    from nodelens.experiments.setup import choose_device, load_study

    plans: list[dict[str, Any]] = []
    for each in configs:
        chosen = choose_metrics(each, plugins.registry)
        study = load_study(each, plugins, choose_device(each.device), allowed)
        plans.append(plan_json(each, study, plan_capture(each, study, chosen)))
    if as_json:
        echo_json(plans)
    else:
        echo("\n\n".join(plan_text(each) for each in plans))
