"""Plugins that replace a stage: their answers are checked, and they are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attrs import evolve, field, frozen
from torch import nn

from nodelens import hookimpl
from nodelens.capture.engine import run_capture
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.capture.result import Capture
from nodelens.channels.infer import infer
from nodelens.errors import PluginError
from nodelens.experiments.experiment import Experiment
from nodelens.plugins import builtin
from nodelens.plugins.hooks import new_manager
from nodelens.plugins.manager import Plugins
from nodelens.scoring.scorer import ScoreRequest, compute_scores
from nodelens.scoring.scores import Scores
from nodelens.storage.run_folder import RunFolder
from nodelens_metrics.activations.activity import ActivationRMS, ActivationVariance
from nodelens_metrics.weights.norms import WeightL1

METRICS = {"rms": ActivationRMS(), "variance": ActivationVariance(), "l1": WeightL1()}


def plugins_of(**plugins) -> Plugins:
    manager = new_manager()
    manager.register(builtin, "nodelens-core:core")
    for name, plugin in plugins.items():
        manager.register(plugin, f"{name}:main")
    return Plugins((), manager)


def capture_request(seed: int = 0) -> CaptureRequest:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    graph = infer(model, torch.randn(2, 4))
    plan = make_plan(graph, list(METRICS.values()), folds=2, model=model)
    return CaptureRequest(model, graph, [torch.randn(16, 4)], plan, torch.device("cpu"))


def score_request(seed: int = 0, metrics=METRICS) -> ScoreRequest:
    request = capture_request(seed)
    return ScoreRequest(request.model, request.graph, metrics, run_capture(request))


@frozen(eq=False)
class Scorer:
    """Answers with changed scores of the core."""

    change: object

    @hookimpl
    def nodelens_score(self, request):
        return self.change(compute_scores(request))


@frozen(eq=False)
class Engine:
    """Answers with a changed capture of the core."""

    change: object

    @hookimpl
    def nodelens_capture(self, request):
        return self.change(run_capture(request))


def changed(scores: Scores, **fields) -> Scores:
    key = ("rms", "0:neurons")
    score = evolve(scores.scores[key], **fields)
    return evolve(scores, scores={**scores.scores, key: score})


def as_layer(scores: Scores) -> Scores:
    key = ("rms", "0:neurons")
    others = {each: score for each, score in scores.scores.items() if each != key}
    return evolve(scores, scores=others, layers={key: evolve(scores[key], values=np.ones(1))})


WRONG_SCORES = {
    "one is left out": (
        lambda s: evolve(s, scores={k: v for k, v in s.scores.items() if k[0] != "rms"}),
        "left out rms of 0:neurons, and gave no reason",
    ),
    "none": (lambda s: Scores({}), "left out rms of 0:neurons"),
    "another shape": (lambda s: changed(s, values=s["rms", "0:neurons"].values[:2]), "shape"),
    "a list": (lambda s: changed(s, values=[1.0] * 6), "in another shape than"),
    "not finite": (lambda s: changed(s, values=s["rms", "0:neurons"].values / 0.0), "not finite"),
    "single": (
        lambda s: changed(s, values=s["rms", "0:neurons"].values.astype("float32")),
        "as float32, not float64",
    ),
    "the direction": (lambda s: changed(s, higher_is_better=False), "another direction to rms"),
    "the metric": (lambda s: changed(s, metric="l1"), "gave the score of l1 of 0:neurons as that"),
    "not asked for": (
        lambda s: evolve(s, layers={("other", "0:neurons"): s["rms", "0:neurons"]}),
        "other of 0:neurons, which was not asked for",
    ),
    "another type": (lambda s: 3, "must return Scores, not int"),
    "a bare array": (
        lambda s: evolve(s, scores={**s.scores, ("rms", "0:neurons"): np.ones(6)}),
        "gave a ndarray as rms of 0:neurons, not a Score",
    ),
    "the level": (as_layer, "gave rms of 0:neurons as a score of the layers"),
    "no errors": (lambda s: changed(s, se=np.full(6, np.nan)), "standard errors that are none"),
    "errors below zero": (lambda s: changed(s, se=-np.ones(6)), "standard errors that are none"),
}


@pytest.mark.parametrize("case", WRONG_SCORES)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_scores_of_a_plugin_are_checked(case):
    change, reason = WRONG_SCORES[case]
    plugins = plugins_of(acme=Scorer(change))
    with pytest.raises(PluginError, match=f"plugin acme:main: nodelens_score .*{reason}"):
        plugins.score(score_request())


def test_whole_scores_of_a_plugin_count_and_it_is_named():
    plugins = plugins_of(acme=Scorer(lambda scores: scores))
    assert len(plugins.score(score_request())) == 3
    assert plugins.replaced == {"nodelens_score": "acme:main"}


def test_a_reason_is_an_answer():
    def refuse(scores: Scores) -> Scores:
        kept = {key: value for key, value in scores.scores.items() if key[0] == "l1"}
        return evolve(
            scores, scores=kept, skipped={("rms", "0:neurons"): "x"}, failed={"variance": "y"}
        )

    assert len(plugins_of(acme=Scorer(refuse)).score(score_request())) == 1


WRONG_CAPTURES = {
    "no states": (lambda c: evolve(c, states={}), "left out Moments.* of 0:neurons"),
    "no rows": (lambda c: evolve(c, rows=torch.zeros(2, dtype=torch.int64)), "with 0 samples"),
    "other folds": (lambda c: evolve(c, rows=torch.ones(3, dtype=torch.int64)), "rows \\(3,\\)"),
    "another type": (lambda c: 3, "must return a Capture, not int"),
}


@pytest.mark.parametrize("case", WRONG_CAPTURES)
def test_a_capture_of_a_plugin_is_checked(case):
    change, reason = WRONG_CAPTURES[case]
    with pytest.raises(PluginError, match=f"plugin acme:main: nodelens_capture .*{reason}"):
        plugins_of(acme=Engine(change)).capture(capture_request())


class Failing:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    @hookimpl
    def nodelens_score(self, request):
        raise self.error

    @hookimpl(wrapper=True)
    def nodelens_capture(self, request):
        yield
        raise self.error


@pytest.mark.parametrize("error", [ValueError("far"), SystemExit(3), PluginError("far")])
@pytest.mark.parametrize("hook", ["score", "capture"])
def test_a_stage_that_fails_names_its_plugin(hook, error):
    plugins = plugins_of(acme=Failing(error))
    request = score_request() if hook == "score" else capture_request()
    with pytest.raises(PluginError, match=f"plugin acme:main: nodelens_{hook} failed: .*(far|3)"):
        getattr(plugins, hook)(request)


def test_errors_of_the_core_are_its_own():
    class Around:
        @hookimpl(wrapper=True)
        def nodelens_capture(self, request):
            return (yield)

    request = evolve(capture_request(), batches=[])
    with pytest.raises(Exception, match="no calibration batch came") as raised:
        plugins_of(acme=Around()).capture(request)
    assert not isinstance(raised.value, PluginError)
    assert isinstance(plugins_of(acme=Around()).capture(capture_request()), Capture)


def test_the_core_is_no_replacement():
    class Declines:
        @hookimpl
        def nodelens_score(self, request):
            return None

    plugins = plugins_of(acme=Declines())
    plugins.score(score_request())
    assert not plugins.replaced


def test_a_run_records_who_answered(tmp_path):
    run = RunFolder.create(tmp_path, "x", "name: x\n")
    run.update_record(components={"metric": {"rms": "nodelens-metrics"}})
    plugins = plugins_of(acme=Scorer(lambda scores: scores))
    experiment = Experiment(None, plugins, run, torch.device("cpu"))
    experiment.note_replaced("nodelens_score")
    assert "stage" not in run.record().components
    plugins.score(score_request())
    experiment.note_replaced("nodelens_score")
    assert run.record().components == {
        "metric": {"rms": "nodelens-metrics"},
        "stage": {"nodelens_score": "acme:main"},
    }


@frozen
class Scaled:
    """A metric with an option."""

    factor: float = 1.0
    info = ActivationRMS.info
    statistics = ActivationRMS.statistics


@frozen(eq=False)
class Held(Scaled):
    function: object = field(default=len, repr=lambda value: f"<function at {hex(id(value))}>")


def test_the_digest_is_that_of_model_capture_and_metrics():
    metrics = {"a": Scaled(), "b": WeightL1()}
    one = score_request(0, metrics).digest
    assert len(one) == 64
    assert score_request(0, metrics).digest == one
    others = [score_request(1, metrics), score_request(0, {"a": Scaled(2.0), "b": WeightL1()})]
    others.append(score_request(0, {"c": Scaled(), "b": WeightL1()}))
    others.append(score_request(0, {"a": Held(), "b": WeightL1()}))
    others.append(score_request(0, {"a": Held(), "b": WeightL1()}))
    changed_state = score_request(0, metrics)
    next(iter(changed_state.capture.states["0:neurons"].values()))["count"] += 1
    changed_weight = score_request(0, metrics)
    with torch.no_grad():
        changed_weight.model[0].weight[0, 0] += 1
    digests = {each.digest for each in (*others, changed_state, changed_weight)}
    assert len(digests) == len(others) + 2
    assert one not in digests
