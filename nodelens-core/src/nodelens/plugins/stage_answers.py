"""Answers of plugins that replace a stage: who gave them, and whether they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nodelens.errors import ENDINGS, PluginError
from nodelens.interfaces.statistic import covering
from nodelens.plugins.reasons import reason
from nodelens.version import DISTRIBUTION

if TYPE_CHECKING:
    import pluggy

    from nodelens.capture.request import CaptureRequest
    from nodelens.capture.result import Capture
    from nodelens.scoring.scorer import ScoreRequest
    from nodelens.scoring.scores import Score, Scores


def first_answer(manager: pluggy.PluginManager, hook: str, **arguments: object) -> tuple[Any, str]:
    """Return the first answer of a hook, and the plugin that gave it, empty for the core.

    Raises `PluginError` with the name of a plugin whose implementation raises.
    """
    answered: list[str] = []
    implementations = getattr(manager.hook, hook).get_hookimpls()
    functions = [(each, each.function) for each in implementations]
    for each, function in functions:
        if not each.wrapper and not each.hookwrapper:
            each.function = _noting(function, each.plugin_name, answered)
    try:
        answer = getattr(manager.hook, hook)(**arguments)
    except ENDINGS:
        raise
    except BaseException as error:
        name = _culprit(error.__traceback__, {f: each.plugin_name for each, f in functions})
        if not name or _is_core(name):
            raise
        raise PluginError(f"plugin {name}: {hook} failed: {reason(error)}") from error
    finally:
        for each, function in functions:
            each.function = function
    name = answered[-1] if answered else ""
    return answer, "" if _is_core(name) else name


def _is_core(name: str) -> bool:
    return name.partition(":")[0] == DISTRIBUTION


def _noting(function: Any, name: str, answered: list[str]) -> Any:
    """Return a function that notes the name of its plugin where it answers."""

    def noting(*arguments: object) -> object:
        answer = function(*arguments)
        if answer is not None:
            answered.append(name)
        return answer

    return noting


def _culprit(traceback: TracebackType | None, functions: dict[Any, str]) -> str:
    """Return the plugin whose implementation is the innermost in a traceback; empty for none."""
    codes = {getattr(function, "__code__", None): name for function, name in functions.items()}
    found = ""
    while traceback is not None:
        found = codes.get(traceback.tb_frame.f_code, found)
        traceback = traceback.tb_next
    return found


def check_capture(capture: Capture, request: CaptureRequest, whose: str) -> None:
    """Raise `PluginError` unless a capture has all statistics of the plan, or says why not."""
    rows, plan = capture.rows, request.plan
    if tuple(rows.shape) != (plan.folds,) or rows.is_floating_point() or not int(rows.sum()):
        raise PluginError(
            f"{whose} gave rows {tuple(rows.shape)} of {rows.dtype} with {rows.sum()} samples, not "
            f"the number of samples of each of {plan.folds} folds"
        )
    asked: list[tuple[str, Any]] = [(e.name, s) for e in plan.everything for s in e.statistics]
    asked += [(entry.name, s) for entry in plan.entries for s in plan.visits]
    for place, statistic in asked:
        lost = capture.counts.reason(place, statistic)
        if not lost and covering(statistic, capture.states.get(place, {})) is None:
            raise PluginError(f"{whose} left out {statistic} of {place}, and gave no reason")


def check_scores(scores: Scores, request: ScoreRequest, whose: str) -> None:
    """Raise `PluginError` unless every metric has a score on every group, or a reason for none."""
    widths = {each.group.name: each.group.width for each in request.capture.plan.entries}
    known = {*scores.scores, *scores.layers, *scores.skipped}
    for name in request.metrics:
        for group in widths if name not in scores.failed else ():
            if (name, group) not in known:
                raise PluginError(f"{whose} left out {name} of {group}, and gave no reason")
    for problem in _problems(scores, request, widths):
        raise PluginError(f"{whose} {problem}")


def _problems(scores: Scores, request: ScoreRequest, widths: dict[str, int]) -> Iterator[str]:
    from nodelens.scoring.scores import Score

    both: list[tuple[tuple[str, str], object]] = [*scores.scores.items(), *scores.layers.items()]
    for place, ((name, group), score) in enumerate(both):
        level = "node" if place < len(scores.scores) else "layer"
        if not isinstance(score, Score):
            yield f"gave a {type(score).__name__} as {name} of {group}, not a Score"
        elif name not in request.metrics or group not in widths:
            yield f"gave a score of {name} of {group}, which was not asked for"
        elif (score.metric, score.group) != (name, group):
            yield f"gave the score of {score.metric} of {score.group} as that of {name} of {group}"
        elif request.metrics[name].info.level != level:
            yield f"gave {name} of {group} as a score of the {level}s, which it is none of"
        elif score.higher_is_better is not request.metrics[name].info.higher_is_better:
            yield f"gave another direction to {name} than the metric has"
        else:
            yield from _bad_values(score, 1 if level == "layer" else widths[group])


def _bad_values(score: Score, width: int) -> Iterator[str]:
    import numpy as np

    for values in (score.values, *(() if score.se is None else (score.se,))):
        if not isinstance(values, np.ndarray) or values.shape != (width,):
            yield f"gave {score.metric} of {score.group} in another shape than ({width},)"
        elif values.dtype != np.float64:
            yield f"gave {score.metric} of {score.group} as {values.dtype}, not float64"
    if isinstance(score.values, np.ndarray) and not np.isfinite(score.values).all():
        yield f"gave {score.metric} of {score.group} values that are not finite"
    if isinstance(score.se, np.ndarray) and not (np.isfinite(score.se) & (score.se >= 0)).all():
        yield f"gave {score.metric} of {score.group} standard errors that are none"
