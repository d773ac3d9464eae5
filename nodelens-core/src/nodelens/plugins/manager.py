"""Loading plugins and calling their hooks, with types."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy
from attrs import define, field

from nodelens.config.schema import PluginSettings
from nodelens.errors import ENDINGS, PluginError
from nodelens.plugins.discovery import Candidate, discover
from nodelens.plugins.hooks import new_manager
from nodelens.plugins.loading import load_plugin
from nodelens.plugins.plugin_record import PluginRecord
from nodelens.plugins.plugin_selection import select
from nodelens.plugins.reasons import reason
from nodelens.plugins.registry import Registry
from nodelens.plugins.stage_answers import check_capture, check_scores, first_answer

if TYPE_CHECKING:
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.capture.request import CaptureRequest
    from nodelens.capture.result import Capture
    from nodelens.channels.groups import Site
    from nodelens.interfaces.loss import ModelLabels
    from nodelens.interfaces.operator import Operator
    from nodelens.scoring.scorer import ScoreRequest
    from nodelens.scoring.scores import Scores
    from nodelens.storage.run_folder import RunFolder

_log = logging.getLogger(__name__)


def load_plugins(
    settings: PluginSettings | None = None, *, block: Sequence[str] = (), strict: bool = False
) -> Plugins:
    """Load the installed plugins that are not blocked; a plugin that fails becomes a record.

    `block` holds distributions or ``distribution:entry`` that are never imported. Raises
    `PluginError` when `settings` names a plugin that is missing or has the wrong version, and
    with `strict` when any plugin fails.
    """
    candidates = discover()
    selection = select(candidates, settings or PluginSettings(), block)
    manager = new_manager()
    records = [_enter(candidate, selection.reason(candidate), manager) for candidate in candidates]
    failed = [record for record in records if record.status == "failed"]
    if failed and strict:
        raise PluginError("\n".join(f"plugin {record.line}" for record in failed))
    return Plugins(tuple(records), manager)


def _enter(candidate: Candidate, blocked: str, manager: pluggy.PluginManager) -> PluginRecord:
    """Load one plugin into the manager, unless the plugin is blocked, and return its record."""
    if blocked:
        return candidate.record("blocked", blocked)
    loaded = load_plugin(candidate, manager)
    if candidate.is_core and loaded.status == "failed":
        raise PluginError(f"the installation is broken; reinstall: {loaded.line}")
    return loaded


@define(eq=False)
class Plugins:
    """The plugins of one process: a registry of their components, and one method per hook.

    Observers that raise end nothing: the warning names the plugin, goes to the log and to
    `warnings`, and that hook of that plugin is not called again. `replaced` names the plugin that
    answered a stage's hook last, where that was not the core.
    """

    records: tuple[PluginRecord, ...]
    _manager: pluggy.PluginManager
    registry: Registry = field(init=False)
    warnings: list[str] = field(init=False, factory=list)
    replaced: dict[str, str] = field(init=False, factory=dict)
    _silenced: set[tuple[str, str]] = field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        self.registry = Registry(self.records)

    def operators(self) -> tuple[Operator, ...]:
        """Import and return the rows of the plugins' operators.

        Raises `PluginError` when one cannot be imported or is no row, or two are of one operator. A
        row in the place of the core's is told in the log and in `warnings`.
        """
        found = self.registry.operators()
        if not found:
            return ()
        from nodelens.channels.rules.table import is_known

        for name in sorted(filter(is_known, found)):
            offer, _ = found[name]
            text = (
                f"plugin {offer.plugin}: its row of operator {name} takes the place of the core's"
            )
            if text not in self.warnings:
                self.warnings.append(text)
                _log.warning(text)
        return tuple(row for _, row in found.values())

    def labels(self, model: nn.Module) -> ModelLabels | None:
        """Return what the first plugin that knows the model's type says about its labels."""
        from nodelens.interfaces.loss import ModelLabels

        answer, name = first_answer(self._manager, "nodelens_labels", model=model)
        if not isinstance(answer, ModelLabels | None):
            whose = f"plugin {name}: " if name else ""
            raise PluginError(
                f"{whose}nodelens_labels must return ModelLabels, not {type(answer).__name__}"
            )
        return answer

    def capture(self, request: CaptureRequest) -> Capture:
        """Return the statistics from the first engine that takes the request.

        Raises `PluginError` where the engine of a plugin fails or leaves statistics out.
        """
        from nodelens.capture.result import Capture

        answer, whose = self._first("nodelens_capture", request)
        if not isinstance(answer, Capture):
            raise PluginError(f"{whose} must return a Capture, not {type(answer).__name__}")
        if "nodelens_capture" in self.replaced:
            check_capture(answer, request, whose)
        return answer

    def score(self, request: ScoreRequest) -> Scores:
        """Return the scores from the first scorer that takes the request.

        Raises `PluginError` where the scorer of a plugin fails or leaves scores out.
        """
        from nodelens.scoring.scores import Scores

        answer, whose = self._first("nodelens_score", request)
        if not isinstance(answer, Scores):
            raise PluginError(f"{whose} must return Scores, not {type(answer).__name__}")
        if "nodelens_score" in self.replaced:
            check_scores(answer, request, whose)
        return answer

    def _first(self, hook: str, request: object) -> tuple[object, str]:
        """Return the first answer of a hook, and in words whose it is."""
        answer, name = first_answer(self._manager, hook, request=request)
        self.replaced.pop(hook, None)
        if name:
            self.replaced[hook] = name
            _log.info("%s was answered by plugin %s", hook, name)
        return answer, f"plugin {name}: {hook}" if name else hook

    def capture_batch(self, site: Site, batch: Batch) -> None:
        """Call the observers of one site that has read one batch."""
        self._observe("nodelens_capture_batch", site=site, batch=batch)

    def captured(self, capture: Capture) -> None:
        """Call the observers of the complete statistics."""
        self._observe("nodelens_captured", capture=capture)

    def scored(self, scores: Scores, run: RunFolder | None) -> None:
        """Call the observers of the scores."""
        self._observe("nodelens_scored", scores=scores, run=run)

    def run_started(self, run: RunFolder) -> None:
        """Call the observers of a run that has its folder."""
        self._observe("nodelens_run_started", run=run)

    def stage_finished(self, run: RunFolder, stage: str, result: object) -> None:
        """Call the observers of a stage that has ended well."""
        self._observe("nodelens_stage_finished", run=run, stage=stage, result=result)

    def run_finished(self, run: RunFolder, error: BaseException | None) -> None:
        """Call the observers of a run that has ended, with the error that ended it early."""
        self._observe("nodelens_run_finished", run=run, error=error)

    def _observe(self, hook: str, **arguments: object) -> None:
        """Call the implementations of one hook plugin by plugin, in pluggy's order."""
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for name in dict.fromkeys(each.plugin_name for each in reversed(implementations)):
            if (name, hook) not in self._silenced:
                self._tell(name, hook, arguments)

    def _tell(self, name: str, hook: str, arguments: dict[str, object]) -> None:
        others = [plugin for other, plugin in self._manager.list_name_plugin() if other != name]
        try:
            self._manager.subset_hook_caller(hook, others)(**arguments)
        except ENDINGS:
            raise
        except BaseException as error:  # noqa: BLE001 - plugin code
            text = f"plugin {name}: {hook} failed and is not called again: {reason(error)}"
            self._silenced.add((name, hook))
            self.warnings.append(text)
            _log.warning(text)
