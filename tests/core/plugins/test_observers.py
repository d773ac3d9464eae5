"""Calling hooks: the first answer counts, observers cannot end a run."""

from __future__ import annotations

import logging

import pytest

from nodelens import hookimpl
from nodelens.errors import PluginError
from nodelens.plugins.hooks import new_manager
from nodelens.plugins.manager import Plugins, load_plugins


class Tracker:
    def __init__(self):
        self.seen = []

    @hookimpl
    def nodelens_capture_batch(self, site, batch):
        self.seen.append((site, batch))

    @hookimpl
    def nodelens_captured(self, capture):
        self.seen.append(capture)

    @hookimpl
    def nodelens_scored(self, scores, run):
        self.seen.append((scores, run))

    @hookimpl
    def nodelens_run_started(self, run):
        self.seen.append(run)

    @hookimpl
    def nodelens_stage_finished(self, run, stage, result):
        self.seen.append((run, stage, result))

    @hookimpl
    def nodelens_run_finished(self, run, error):
        self.seen.append((run, error))


class Raising:
    def __init__(self):
        self.calls = 0

    @hookimpl
    def nodelens_stage_finished(self, stage):
        self.calls += 1
        raise RuntimeError(f"lost at {stage}")


def plugins_of(**plugins) -> Plugins:
    manager = new_manager()
    for name, plugin in plugins.items():
        manager.register(plugin, f"{name}:main")
    return Plugins((), manager)


@pytest.mark.parametrize(
    ("method", "arguments", "seen"),
    [
        ("capture_batch", ("site", "batch"), ("site", "batch")),
        ("captured", ("capture",), "capture"),
        ("scored", ("scores", None), ("scores", None)),
        ("run_started", ("run",), "run"),
        ("stage_finished", ("run", "scores", 1), ("run", "scores", 1)),
        ("run_finished", ("run", None), ("run", None)),
    ],
)
def test_observers_get_what_they_ask_for(method, arguments, seen):
    tracker = Tracker()
    getattr(plugins_of(acme=tracker), method)(*arguments)
    assert tracker.seen == [seen]


def test_an_observer_that_raises_ends_nothing_and_is_not_called_again(caplog):
    raising, tracker = Raising(), Tracker()
    plugins = plugins_of(bad=raising, good=tracker)
    with caplog.at_level(logging.WARNING):
        plugins.stage_finished("run", "scores", None)
        plugins.stage_finished("run", "report", None)
    assert raising.calls == 1
    assert [stage for _, stage, _ in tracker.seen] == ["scores", "report"]
    assert plugins.warnings == caplog.messages
    assert plugins.warnings[0].startswith(
        "plugin bad:main: nodelens_stage_finished failed and is not called again: "
        "RuntimeError: lost at scores (test_observers.py, line "
    )


def test_an_interrupt_passes_through_observers():
    class Interrupting:
        @hookimpl
        def nodelens_captured(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plugins_of(acme=Interrupting()).captured("capture")


@pytest.mark.parametrize(("method", "kind"), [("capture", "a Capture"), ("score", "Scores")])
def test_an_answer_of_the_wrong_type_is_an_error(method, kind):
    class Wrong:
        @hookimpl
        def nodelens_capture(self):
            return 3

        @hookimpl
        def nodelens_score(self):
            return 3

    with pytest.raises(
        PluginError, match=f"acme:main: nodelens_{method} must return {kind}, not int"
    ):
        getattr(plugins_of(acme=Wrong()), method)("request")


@pytest.mark.parametrize("method", ["capture", "score"])
def test_the_core_answers_last(method, monkeypatch):
    from nodelens.capture import engine as capture_engine
    from nodelens.scoring import scorer as scoring_engine

    monkeypatch.setattr(capture_engine, "run_capture", lambda request: request)
    monkeypatch.setattr(scoring_engine, "compute_scores", lambda request: request)
    with pytest.raises(PluginError, match="not str"):  # the core's answer came through
        getattr(load_plugins(), method)("request")
