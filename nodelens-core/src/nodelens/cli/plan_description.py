"""A plan as JSON values, and as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attrs import asdict, fields

from nodelens.capture.plan.capture_plan import InputEntry, LossEntry, PairEntry, PlanEntry
from nodelens.cli.layout import columns, wrapped
from nodelens.config.sizes import size_text

if TYPE_CHECKING:
    from nodelens.capture.plan.budgeted_plan import Planned
    from nodelens.capture.plan.capture_plan import CapturePlan, Entry
    from nodelens.config.schema import RunConfig
    from nodelens.experiments.setup import StudyInputs


def plan_json(config: RunConfig, study: StudyInputs, planned: Planned) -> dict[str, Any]:
    """Return all that is known of the passes before a run starts."""
    plan, stop_when = planned.plan, config.capture.stop_when
    return {
        "name": config.name,
        "model": study.handle.origin,
        "samples": {
            "train": len(study.splits.train),
            "validation": len(study.splits.validation),
            "test": len(study.splits.test),
            "calibration": len(study.calibration),
        },
        "patterns": {"taken": list(planned.taken), "left_out": dict(planned.left_out)},
        "metrics": [_metric(name, metric) for name, metric in planned.metrics.items()],
        "passes": plan.passes,
        "extra_passes": [statistic.passes for statistic in plan.visits],
        "backward": plan.gradient,
        "folds": plan.folds,
        "folds_of_covariances": _quadratic_folds(plan),
        "stop_when": stop_when and asdict(stop_when),
        "position_fraction": {
            "fraction": plan.position_fraction,
            "used": plan.thinned,
            "errors_up_to": plan.widening if plan.thinned else 1.0,
        },
        "bytes": plan.bytes,
        "peak_bytes": plan.peak_bytes,
        "memory_budget": plan.budget,
        "notes": list(plan.notes),
        "places": [_place(plan, entry) for entry in plan.everything if entry.statistics],
        "groups": [_group(plan, entry) for entry in plan.entries],
        "unread": dict(plan.unread),
    }


def _metric(name: str, metric: Any) -> dict[str, Any]:
    return {
        "name": name,
        "level": metric.info.level,
        "statistics": [str(s) for s in metric.statistics],
    }


def _quadratic_folds(plan: CapturePlan) -> int | None:
    return (plan.quadratic_folds or plan.folds) if plan.needs("quadratic") else None


def _place(plan: CapturePlan, entry: Entry) -> dict[str, Any]:
    """Return one place with its statistics, and the number of the pass that reads the place."""
    return {
        "name": entry.name,
        "kind": _kind(entry),
        "width": entry.layout.width,
        "pass": next(n for n, read in enumerate(plan.streams, 1) if entry in read),
        "bytes": plan.bytes_of(entry),
        "statistics": [
            {
                "statistic": _call_text(statistic),
                "at": statistic.reads,
                "folds": plan.folds_of(statistic),
                "fraction": plan.position_fraction if plan.thins(statistic) else 1.0,
                "bytes": 8 * statistic.floats(plan.layout(entry, statistic)),
            }
            for statistic in entry.statistics
        ],
    }


def _call_text(statistic: Any) -> str:
    """Return a statistic as a call, without options that have their default."""
    options = [each for each in fields(type(statistic)) if each.init]
    given = [(each.name, getattr(statistic, each.name), each.default) for each in options]
    written = [f"{name}={value!r}" for name, value, default in given if value != default]
    return f"{type(statistic).__name__}({', '.join(written)})"


def _kind(entry: Entry) -> str:
    if isinstance(entry, PlanEntry):
        return "group"
    if isinstance(entry, InputEntry):
        return "weights" if entry.place == "weight" else "inputs"
    if isinstance(entry, LossEntry):
        return "loss"
    return "pair" if isinstance(entry, PairEntry) else "block"


def _group(plan: CapturePlan, entry: PlanEntry) -> dict[str, Any]:
    return {
        "name": entry.group.name,
        "width": entry.group.width,
        "prunable": entry.group.prunable,
        "frozen": entry.group.frozen,
        "sites": [
            site.name
            for place in ("activation", "preactivation")
            if any(s.reads == place for s in entry.statistics)
            for site in entry.group.at(place)
        ],
        "bytes": plan.bytes_of(entry),
    }


_TITLES = {
    "group": "Nodes",
    "inputs": "Inputs of modules",
    "weights": "Gradients of weights",
    "pair": "Pairs of groups",
    "block": "Residual blocks",
    "loss": "The loss of each row",
}


def plan_text(plan: dict[str, Any]) -> str:
    """Return a plan as text for people, at most as wide as the terminal."""
    parts = [f"{plan['name']}: {plan['model']}\n{columns(list(_facts(plan)), 2)}"]
    if plan["notes"]:
        notes = "\n".join(wrapped(f"- {note}", 2) for note in plan["notes"])
        parts.append(f"To fit the memory\n{notes}")
    for kind, title in _TITLES.items():
        places = [place for place in plan["places"] if place["kind"] == kind]
        if places:
            shown = "\n".join(_place_text(plan, place) for place in places)
            parts.append(f"{title}\n{shown}")
    if plan["extra_passes"]:
        extra = "\n".join(wrapped(text, 2) for text in plan["extra_passes"])
        parts.append(f"Passes of their own\n{extra}")
    parts += _patterns(plan["patterns"])
    if plan["unread"]:
        unread = [wrapped(f"{name}: {why}", 2) for name, why in plan["unread"].items()]
        parts.append("Not scored\n" + "\n".join(unread))
    return "\n\n".join(parts)


def _patterns(patterns: dict[str, Any]) -> Iterator[str]:
    if patterns["taken"]:
        yield f"Taken by patterns\n{wrapped(', '.join(patterns['taken']), 2)}"
    if patterns["left_out"]:
        reasons = [wrapped(f"{name}: {why}", 2) for name, why in patterns["left_out"].items()]
        yield "Left out by patterns\n" + "\n".join(reasons)


def _facts(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "samples", ", ".join(f"{count} {name}" for name, count in plan["samples"].items())
    yield "metrics", _metrics_text(plan["metrics"])
    direction = "forward and backward" if plan["backward"] else "forward only"
    yield "passes", f"{plan['passes']}, {direction}" if plan["passes"] else "none, weights suffice"
    covariances = plan["folds_of_covariances"]
    fewer = f"; covariances in {covariances}" if covariances not in (None, plan["folds"]) else ""
    yield "folds", f"{plan['folds']}{fewer}"
    if plan["stop_when"]:
        yield (
            "stops",
            "once the top {top:.0%} by {metric} overlaps by {min_overlap:g}".format(
                **plan["stop_when"]
            ),
        )
    if plan["position_fraction"]["fraction"] < 1.0:
        yield "positions", _positions_text(plan["position_fraction"])
    budget = plan["memory_budget"]
    limit = "no limit" if budget is None else f"{size_text(budget)} allowed"
    together = "" if plan["bytes"] == plan["peak_bytes"] else f"{size_text(plan['bytes'])} in all, "
    yield "memory", f"{size_text(plan['peak_bytes'])} of statistics ({together}{limit})"


def _positions_text(positions: dict[str, Any]) -> str:
    if not positions["used"]:
        return f"{positions['fraction']:g} requested; no metric takes products of pairs of nodes"
    return (
        f"{positions['fraction']:g} of them for pairs of nodes; errors up to "
        f"{positions['errors_up_to']:.2f} times as wide"
    )


def _metrics_text(metrics: list[dict[str, Any]]) -> str:
    layers = sum(metric["level"] == "layer" for metric in metrics)
    return f"{len(metrics) - layers} of nodes, {layers} of layers" if layers else str(len(metrics))


def _place_text(plan: dict[str, Any], place: dict[str, Any]) -> str:
    group = next((each for each in plan["groups"] if each["name"] == place["name"]), None)
    several = plan["passes"] - len(plan["extra_passes"]) > 1
    read = f", pass {place['pass']}" if several else ""
    frozen = f", frozen: {group['frozen']}" if group and group["frozen"] else ""
    head = f"{place['name']}: {place['width']} wide, {size_text(place['bytes'])}{read}{frozen}"
    rows = [("at", site) for site in (group["sites"] if group else ())]
    rows += [(size_text(each["bytes"]), _statistic_text(each)) for each in place["statistics"]]
    return f"{wrapped(head, 2)}\n{columns(rows, 4)}"


def _statistic_text(statistic: dict[str, Any]) -> str:
    fraction = statistic["fraction"]
    return str(statistic["statistic"]) + (f" of {fraction:g}" if fraction < 1.0 else "")
