"""``nodelens inspect``: the channel groups of a model, and the size of one node of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import asdict

from nodelens.cli.configured import OVERRIDES, checked_configs, permitting
from nodelens.cli.layout import columns, echo, echo_json, wrapped
from nodelens.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch

    from nodelens.channels.groups import ChannelGraph, ChannelGroup, Role
    from nodelens.cli.session import Session
    from nodelens.interfaces.backend import ModelHandle, Permissions
    from nodelens.removal.cost import Cost, Costs
    from nodelens.removal.equivalence_result import EquivalenceResult


@click.command()
@click.argument("target", metavar="CONFIG_OR_MODEL")
@OVERRIDES
@click.option("--shape", metavar="C,H,W", help="Shape of one sample, for a model module:function.")
@permitting
@click.option("--verify", "verified", is_flag=True, help="Also try to remove half of each group.")
@click.option("--json", "as_json", is_flag=True, help="Print the groups as JSON.")
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    help="Draw which group feeds which into this file (svg, png or pdf).",
)
@click.pass_obj
def inspect(
    session: Session,
    target: str,
    overrides: tuple[str, ...],
    shape: str | None,
    allowed: Permissions,
    verified: bool,
    as_json: bool,
    figure: Path | None,
) -> None:
    """Show the nodes of a model: channel groups, who writes and reads them, the size of one node.

    The model is that of a config, before training, or one of your own as module:function under
    --allow-import, with the --shape of one sample. With --verify, half of the nodes of each
    prunable group are removed in turn, and the result is compared with the masked model, on the
    samples, on others made from them, and in training mode.
    """
    from nodelens.graph import infer
    from nodelens.removal.cost import costs
    from nodelens.removal.verify import verify

    handle, example = _study(session, target, overrides, shape, allowed)
    model = handle.module
    graph = infer(model, example, operators=session.survey().operators())
    found = costs(model, graph, example[:1])
    results = verify(model, graph, example, hints=handle.hints) if verified else []
    if figure is not None:
        from nodelens.reports.group_figure import write_group_figure

        write_group_figure(graph, figure)
    if as_json:
        echo_json(_as_json(graph, found, results))
    else:
        echo("\n".join(_as_text(graph, found, results)))


def _study(
    session: Session,
    target: str,
    overrides: tuple[str, ...],
    shape: str | None,
    allowed: Permissions,
) -> tuple[ModelHandle, torch.Tensor]:
    """Return the model and two samples for it."""
    if ":" in target and not Path(target).exists():
        return _own_model(target, shape, allowed)
    configs, plugins = checked_configs(session, Path(target), overrides)
    if len(configs) > 1:
        raise ConfigError([f"{target}: sweeps over {len(configs)} runs; inspect takes one"])
    from nodelens.experiments.setup import choose_device, load_study

    device = choose_device(configs[0].device)
    study = load_study(configs[0], plugins, device, allowed)
    return study.handle, study.splits.train.inputs[:2].to(device)


def _own_model(
    target: str, shape: str | None, allowed: Permissions
) -> tuple[ModelHandle, torch.Tensor]:
    """Return a model of the user's with two samples of random numbers."""
    import torch

    from nodelens.interfaces.backend import ModelRequest
    from nodelens.models.imported import Imported
    from nodelens.seeding import generator

    if shape is None:
        raise ConfigError([f"{target}: give the shape of one sample, such as --shape 3,224,224"])
    try:
        sizes = tuple(int(size) for size in shape.split(","))
    except ValueError:
        raise ConfigError([f"--shape: expected numbers and commas, got {shape!r}"]) from None
    request = ModelRequest(sizes, classes=1, seed=0, allow_import=allowed.imports)
    handle = Imported(target).build(request)
    parameter = next(handle.module.parameters(), None)
    if parameter is None:
        raise ModelError(f"{target}: the model has no parameters, so it has no nodes")
    drawn = torch.randn(2, *sizes, generator=generator(0, "inspect", "example"))
    return handle, drawn.to(parameter)


def _as_json(graph: ChannelGraph, found: Costs, results: list[EquivalenceResult]) -> dict[str, Any]:
    return {
        "traced": graph.traced,
        "note": graph.note,
        "unknown_operators": dict(graph.unknown_operators),
        "unused": list(graph.unused),
        "mixed": graph.mixed,
        "model": asdict(found.model),
        "groups": [{**asdict(group), "node": asdict(found.nodes[group.name])} for group in graph],
        "verdicts": [asdict(result) for result in results],
    }


def _as_text(graph: ChannelGraph, found: Costs, results: list[EquivalenceResult]) -> Iterator[str]:
    said = {result.group: result for result in results}
    prunable = sum(group.prunable for group in graph)
    yield f"{len(graph)} groups, {prunable} prunable; {_cost(found.model)} per sample"
    if graph.note:
        yield wrapped(graph.note, 0)
    for name, module in graph.unknown_operators.items():
        yield wrapped(
            f"no rule for {name} in {module or 'the model'}: what it touches is frozen", 0
        )
    if graph.unused:
        yield wrapped(f"the forward does not use {', '.join(graph.unused)}", 0)
    if graph.mixed:
        yield wrapped(f"samples of a batch are mixed: {graph.mixed}", 0)
    for group in graph:
        yield ""
        yield f"{group.name}: {group.width} nodes"
        yield columns(list(_facts(group, found.nodes[group.name], said.get(group.name))), indent=2)


def _facts(
    group: ChannelGroup, cost: Cost, result: EquivalenceResult | None
) -> Iterator[tuple[str, str]]:
    yield "one node", _cost(cost) + _several(group)
    yield "written by", _owners(group, "producer") or "nothing"
    yield "read by", _owners(group, "consumer") or "no weight"
    followers = _owners(group, "carrier")
    if followers:
        yield "followed by", followers
    sites = ", ".join(site.name for site in group.at("activation"))
    yield "sites", sites or "no module's input"
    state = "prunable" if group.prunable else f"frozen: {group.frozen}"
    yield "state", state + (", normalised" if group.normalised else "")
    if result is not None:
        yield "removal", str(result).removeprefix(f"{result.group}: ")


def _several(group: ChannelGroup) -> str:
    """Return how many indices of its writing parameter one node has, if not one."""
    for part in group.role("producer"):
        count = part.extent.inner * part.extent.outer
        return f"; {count} indices of {part.parameter}" if count > 1 else ""
    return ""


def _owners(group: ChannelGroup, role: Role) -> str:
    owners = (part.parameter.rpartition(".")[0] or part.parameter for part in group.role(role))
    return ", ".join(dict.fromkeys(owners))


def _cost(cost: Cost) -> str:
    macs = "MACs unknown" if cost.macs is None else f"{cost.macs:,} MACs"
    return f"{cost.parameters:,} parameters, {macs}"
