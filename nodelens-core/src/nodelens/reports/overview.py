"""The top of every report: the status of the run, its headlines, warnings and key numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nodelens.findings.finding import Finding
from nodelens.reports.numbers import number, with_error

if TYPE_CHECKING:
    from nodelens.scoring.scores import Scores
    from nodelens.storage.run_folder import RunFolder
    from nodelens.storage.run_record import RunRecord

_BANNERS = {
    "failed": "This run failed. Below is what it had found until then.",
    "interrupted": "This run was interrupted. Below is what it had found until then.",
    "running": "This run had not ended when the report was written. Below is what it had found.",
}


@frozen
class Card:
    """One key number with its name, and its standard error if it has one."""

    label: str
    value: str
    error: str = ""


@frozen
class Overview:
    """The summary of a run; `banner` says that it did not finish, `error` why.

    `headline` holds the sentences of every finding under its title.
    """

    name: str
    status: str
    banner: str
    error: str
    headline: tuple[tuple[str, tuple[str, ...]], ...]
    warnings: tuple[str, ...]
    cards: tuple[Card, ...]


@frozen(eq=False)
class RunContent:
    """The contents of a run folder for a report, read once."""

    record: RunRecord
    findings: tuple[Finding, ...]
    scores: Scores | None


def read_content(run: RunFolder) -> RunContent:
    """Return the record, the findings and the scores of a run, also of an unfinished one."""
    from nodelens.scoring.scores import Scores

    stored = run.file("scores.safetensors")
    scores = Scores.load(stored) if stored.is_file() else None
    return RunContent(run.record(), tuple(run.findings()), scores)


def overview(content: RunContent) -> Overview:
    """Return the summary of a run."""
    record = content.record
    return Overview(
        name=record.name,
        status=record.status,
        banner=_BANNERS.get(record.status, ""),
        error=record.error or "",
        headline=tuple((each.title, each.headline) for each in content.findings if each.headline),
        warnings=tuple(_warnings(content)),
        cards=tuple(_cards(evaluation(content))),
    )


def evaluation(content: RunContent) -> dict[str, Any]:
    """Return the run's key numbers: its summary, or else the data of its evaluations."""
    if content.record.summary:
        return dict(content.record.summary)
    return {
        finding.name: finding.data for finding in content.findings if finding.kind == "evaluation"
    }


def ordered_warnings(
    of_the_run: Iterable[str], findings: Iterable[Finding]
) -> Iterator[tuple[Finding | None, str]]:
    """Yield every warning with its finding, those of evaluations first: a model may be at chance.

    Warnings `of_the_run` have no finding.
    """
    found = [(each, warning) for each in findings for warning in each.warnings]
    yield from (pair for pair in found if pair[0].kind == "evaluation")
    yield from ((None, warning) for warning in of_the_run)
    yield from (pair for pair in found if pair[0].kind != "evaluation")


def _warnings(content: RunContent) -> Iterator[str]:
    for finding, warning in ordered_warnings(content.record.warnings, content.findings):
        yield f"{finding.title}: {warning}" if finding else warning
    if content.scores is not None:
        for metric, reason in content.scores.failed.items():
            yield f"Metric {metric} failed and has no scores: {reason}"


def _cards(numbers: Mapping[str, Any]) -> Iterator[Card]:
    """Yield a card per number or text; ``x_se`` is the standard error of ``x``."""
    flat = dict(_flatten(numbers, ""))
    for name, value in flat.items():
        if name.endswith("_se") and name.removesuffix("_se") in flat:
            continue
        error = flat.get(f"{name}_se")
        if isinstance(value, bool | str):
            yield Card(_label(name), str(value))
        elif isinstance(value, int | float) and isinstance(error, int | float):
            shown, _, reach = with_error(value, error).partition(" ± ")
            yield Card(_label(name), shown, reach)
        elif isinstance(value, int | float):
            yield Card(_label(name), number(value))


def _flatten(numbers: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value


def _label(name: str) -> str:
    return name.replace("_", " ")
