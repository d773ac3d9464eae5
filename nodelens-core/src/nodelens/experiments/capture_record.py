"""The record of a capture: the samples and positions read, and the effect on standard errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attrs import asdict

from nodelens.findings.finding import Finding
from nodelens.scoring.mean_loss import mean_loss

if TYPE_CHECKING:
    from nodelens.capture.counts import Counts
    from nodelens.capture.plan.capture_plan import CapturePlan
    from nodelens.capture.result import Capture
    from nodelens.interfaces.loss import RowLoss


def capture_json(capture: Capture) -> dict[str, Any]:
    """Return the numbers of a capture as JSON values, without the statistics."""
    plan, loss = capture.plan, mean_loss(capture)
    return {
        "samples": capture.samples,
        "rows_by_fold": capture.rows.tolist(),
        "folds": plan.folds,
        "folds_of_covariances": plan.quadratic_folds or plan.folds,
        "passes": plan.passes,
        "parts": plan.parts,
        "gradient": plan.gradient,
        "loss": loss and asdict(loss),
        "bytes": plan.bytes,
        "peak_bytes": plan.peak_bytes,
        "memory_budget": plan.budget,
        "notes": plan.notes,
        "position_fraction": _positions(capture) if plan.thinned else None,
        "sites_read": dict(capture.fired),
        "calls_not_read": dict(capture.counts.beyond),
        "lost": {**capture.counts.lost, **capture.counts.broken},
        "unread": dict(plan.unread),
    }


def loss_numbers(capture: Capture, target: RowLoss | None) -> dict[str, float | None]:
    """Return the mean loss over the calibration samples for a summary, where one was computed.

    Where nodes are scored for a target, it is the mean target.
    """
    loss = mean_loss(capture)
    if loss is None:
        return {}
    if target is None:
        return {"calibration_loss": loss.mean, "calibration_loss_se": loss.se}
    sign = -1 if target.loss.info.higher_is_better else 1
    return {"calibration_target": sign * loss.mean, "calibration_target_se": loss.se}


def capture_findings(capture: Capture) -> Iterator[Finding]:
    """Yield the findings of a capture that every report shows."""
    if capture.plan.notes:
        yield _plan_finding(capture.plan)
    if capture.plan.thinned:
        yield _positions_finding(capture)
    unread = warnings_of(capture.counts)
    if unread:
        yield Finding(
            kind="capture",
            name="calls",
            title="What was not read",
            warnings=tuple(unread),
            data={
                "calls_not_read": dict(capture.counts.beyond),
                "lost": {**capture.counts.lost, **capture.counts.broken},
            },
        )


def warnings_of(counts: Counts) -> list[str]:
    """Return warnings about statistics and calls of modules that were not read, each once."""
    lost = [f"left out: {reason}" for reason in dict.fromkeys(counts.lost.values())]
    return lost + [
        f"{count} calls of {path or 'the model'} came after the last one that the example has, and "
        "were not read: its scores are about the calls before"
        for path, count in counts.beyond.items()
    ]


def _positions(capture: Capture) -> dict[str, Any]:
    counts = capture.counts
    return {
        "fraction": capture.plan.position_fraction,
        "positions": dict(counts.positions),
        "used": dict(counts.chosen),
        "errors_up_to": counts.fraction**-0.5,
    }


def _positions_finding(capture: Capture) -> Finding:
    """Return the fraction of positions that pairs of nodes read, and their wider errors."""
    data, counts = _positions(capture), capture.counts
    used, all_of = counts.chosen.total(), counts.positions.total()
    return Finding(
        kind="capture",
        name="positions",
        title="What pairs of nodes were taken from",
        headline=(
            f"Products of pairs of nodes read {used:,} of {all_of:,} positions, over all places "
            f"(capture.position_fraction: {capture.plan.position_fraction:g}).",
            f"Their standard errors are up to {data['errors_up_to']:.2f} times as wide as from all "
            "positions: by that much where positions are independent, by less where those of a "
            "sample are alike. The errors shown are those of this fraction.",
        ),
        warnings=tuple(_singular(capture)),
        data=data,
    )


def _singular(capture: Capture) -> Iterator[str]:
    """Yield a warning where fewer positions are read than a layer has nodes."""
    seen: Counter[str] = Counter()
    for name, count in capture.counts.chosen.items():
        seen[name.split(" @ ")[0]] += count
    widths = {entry.name: entry.layout.width for entry in capture.plan.everything}
    few = [f"{name} ({n} for {widths[name]})" for name, n in seen.items() if n < widths[name]]
    if few:
        yield (
            f"{len(few)} places have fewer of these positions than nodes, the first is {few[0]}: "
            "their covariances have no inverse; raise capture.position_fraction or capture.samples"
        )


def _plan_finding(plan: CapturePlan) -> Finding:
    """Return the changes of the plan by the memory budget, for every report."""
    return Finding(
        kind="capture",
        name="plan",
        title="What the memory budget has changed",
        headline=tuple(f"{note[0].upper()}{note[1:]}." for note in plan.notes),
        data={
            "notes": list(plan.notes),
            "passes": plan.passes,
            "bytes": plan.bytes,
            "peak_bytes": plan.peak_bytes,
            "memory_budget": plan.budget,
        },
    )
