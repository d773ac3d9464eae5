"""Scores of a user's own model on batches of their own, without a run folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from attrs import field, frozen

from nodelens.arguments import check_forward, check_targets, count_outputs, device_of, peeked
from nodelens.capture.distributed.workers import Workers, group_workers
from nodelens.capture.engine import Capture, CaptureRequest, Loss
from nodelens.capture.losses import row_losses
from nodelens.capture.plan.budgeted_plan import Planned, plan_metrics
from nodelens.channels.infer import infer
from nodelens.experiments.capture_record import warnings_of
from nodelens.experiments.convergence import check_rule
from nodelens.scoring.engine import ScoreRequest
from nodelens.scoring.stopping import StoppingRule

if TYPE_CHECKING:
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.channels.groups import ChannelGraph
    from nodelens.config.schema import StoppingSettings
    from nodelens.interfaces.metric import Metric
    from nodelens.plugins.manager import Plugins
    from nodelens.scoring.scores import Scores

log = logging.getLogger("nodelens")


@frozen(eq=False)
class Options:
    """How to capture: see `nodelens.score`; `loss` of None is the cross-entropy of the logits."""

    loss: Loss | None = None
    folds: int = 8
    classes: int | None = None
    budget: int | None = None
    position_fraction: float = 1.0
    stop_when: StoppingSettings | None = None
    workers: Workers = field(factory=group_workers)


@frozen(eq=False)
class _Given:
    """The model, its groups, and what its nodes are to be scored by."""

    model: nn.Module
    graph: ChannelGraph
    metrics: Mapping[str, Metric]
    options: Options

    def plan(self, classes: int = 0) -> Planned:
        given = self.options
        return plan_metrics(
            self.graph,
            self.metrics,
            given.folds,
            classes,
            model=self.model,
            budget=given.budget,
            position_fraction=given.position_fraction,
        )


def score_model(
    model: nn.Module,
    batches: Iterable[Any],
    metrics: Mapping[str, Metric],
    options: Options,
    plugins: Plugins,
) -> Scores:
    """Score every node of a model from one pass over batches; see `nodelens.score`."""
    first, rest = peeked(batches)
    example = first.to(device_of(model))
    check_forward(model, example)
    with torch.inference_mode(False):
        graph = infer(model, *example.args, rules=plugins.operator_rules(), **example.kwargs)
        given = _Given(model, graph, metrics, options)
        planned = _planned(given, example)
        check_targets(first, planned.plan.gradient and options.loss is None, planned.plan.targets)
        scores = _scored(given, planned, rest, plugins)
    plugins.scored(scores, None)
    return scores


def _planned(given: _Given, example: Batch) -> Planned:
    """Return the plan; the number of classes is that of the model's outputs, unless it is given."""
    planned = given.plan()
    if planned.plan.targets:
        planned = given.plan(given.options.classes or count_outputs(given.model, example))
    if given.options.stop_when is not None:
        check_rule(given.options.stop_when, planned, "stop_when")
    return planned


def _rule(given: _Given, planned: Planned) -> StoppingRule | None:
    settings = given.options.stop_when
    if settings is None:
        return None

    def request(capture: Capture) -> ScoreRequest:
        return ScoreRequest(given.model, given.graph, planned.metrics, capture)

    return StoppingRule(request, settings.metric, settings.top, settings.min_overlap)


def _scored(given: _Given, planned: Planned, batches: Iterable[Any], plugins: Plugins) -> Scores:
    """Capture and score; states that the memory is too small for are in a file until then."""
    rule = _rule(given, planned)
    for note in planned.plan.notes:
        log.warning("%s", note)
    with TemporaryDirectory(prefix="nodelens-") as folder:
        request = CaptureRequest(
            given.model,
            given.graph,
            batches,
            planned.plan,
            device_of(given.model),
            given.options.loss or row_losses,
            store=Path(folder),
            enough=rule,
            workers=given.options.workers,
        )
        capture = plugins.capture(request)
        for warning in warnings_of(capture.counts):
            log.warning("%s", warning)
        if rule is not None:
            _tell(rule, capture)
        return plugins.score(ScoreRequest(given.model, given.graph, planned.metrics, capture))


def _tell(rule: StoppingRule, capture: Capture) -> None:
    """Log whether the samples were enough."""
    rule.look(capture)
    if rule.reached:
        log.info("the top by %s was stable after %s samples", rule.metric, capture.samples)
    else:
        log.warning("the top by %s was not stable after %s samples", rule.metric, capture.samples)
