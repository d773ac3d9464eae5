"""Scores of a user's own model on batches of their own, without a run folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve, field, frozen

from nodelens.arguments import check_forward, check_targets, count_outputs, device_of, peeked
from nodelens.capture.batches import as_batch
from nodelens.capture.distributed.workers import Workers, group_workers
from nodelens.capture.losses import OWN_LOSS
from nodelens.capture.own_batches import BatchReader, OwnBatches, label_parameters, with_labels
from nodelens.capture.plan.budgeted_plan import Planned, plan_metrics
from nodelens.capture.plan.planning import unreadable
from nodelens.capture.request import CaptureRequest
from nodelens.errors import DataError
from nodelens.experiments.capture_record import warnings_of
from nodelens.experiments.convergence import check_rule
from nodelens.experiments.loss_requirements import (
    NO_LOSS,
    reads_a_loss,
    reads_classes,
    reads_predictions,
    undefined_under,
)
from nodelens.graph import infer
from nodelens.losses.choice import check_returned_loss, named_target, resolved
from nodelens.losses.function import FunctionLoss
from nodelens.scoring.scorer import ScoreRequest, check_scored
from nodelens.scoring.stopping import StoppingRule

if TYPE_CHECKING:
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.capture.result import Capture
    from nodelens.channels.groups import ChannelGraph
    from nodelens.config.schema import StoppingSettings
    from nodelens.interfaces.loss import LabelMeaning, RowLoss
    from nodelens.interfaces.metric import Metric
    from nodelens.plugins.manager import Plugins
    from nodelens.scoring.metric_choice import MetricChoice
    from nodelens.scoring.scores import Scores

log = logging.getLogger("nodelens")


@frozen(eq=False)
class Options:
    """The options of a capture, see `nodelens.score`."""

    loss: RowLoss | None = None
    target: RowLoss | None = None
    class_names: tuple[str, ...] = ()
    samples: int | None = None
    folds: int = 8
    classes: int | None = None
    budget: int | None = None
    position_fraction: float = 1.0
    stop_when: StoppingSettings | None = None
    seed: int = 0
    workers: Workers = field(factory=group_workers)


@frozen(eq=False)
class _Labelled:
    """A user's batches, read by what labels mean to the model, and the loss that scores it."""

    first: Batch
    batches: Iterable[Batch]
    own: OwnBatches
    loss: RowLoss
    target: RowLoss | None
    meaning: LabelMeaning | None
    chosen: bool

    def check(self, model: nn.Module, example: Batch) -> None:
        """Raise `DataError` where it cannot be told which loss is meant; name what is left out."""
        if isinstance(self.loss.loss, FunctionLoss) or self.target is not None:
            return
        if self.meaning is not None:
            if self.meaning.problem:
                raise DataError(f"{self.meaning.problem}; {OWN_LOSS}")
            for term in self.meaning.left_out:
                log.warning("the model's own loss is taken without its %s", term)
        elif not self.chosen and self.own.reader.takes:
            check_returned_loss(model, example, self.loss)


@frozen(eq=False)
class _Given:
    """The model, its channel groups, and the metrics and options to score its nodes by."""

    model: nn.Module
    graph: ChannelGraph
    choice: MetricChoice
    options: Options
    loss: RowLoss
    target: RowLoss | None

    def plan(self, classes: int = 0) -> Planned:
        given = self.options
        planned = plan_metrics(
            self.graph,
            self.choice.metrics,
            given.folds,
            classes,
            model=self.model,
            budget=given.budget,
            position_fraction=given.position_fraction,
        )
        return evolve(planned, left_out=self.choice.left_out)


def score_model(
    model: nn.Module,
    batches: Iterable[Any],
    choice: MetricChoice,
    options: Options,
    plugins: Plugins,
) -> Scores:
    """Score every node of a model from one pass over batches; see `nodelens.score`."""
    study = _labelled(model, batches, options, plugins)
    example = study.first.to(device_of(model))
    predicts = check_forward(model, example)
    with torch.inference_mode(False):
        graph = infer(model, *example.args, operators=plugins.operators(), **example.kwargs)
        choice = choice.fitting(lambda each: _misfit(each, model, graph, study, options, predicts))
        given = _Given(model, graph, choice, options, study.loss, study.target)
        planned = _planned(given, example)
        _check_labels(study, planned, choice, options)
        if planned.plan.gradient or planned.plan.targets:
            study.check(model, example)
        scores = _with_left_out(_scored(given, planned, study.batches, plugins), given)
    for warning in (*study.own.warnings(), *scores.told()):
        log.warning("%s", warning)
    plugins.scored(scores, None)
    return scores


def _labelled(
    model: nn.Module, values: Iterable[Any], options: Options, plugins: Plugins
) -> _Labelled:
    """Return the batches, by what labels mean to the model, and the loss that scores it."""
    value, values = peeked(values)
    known = plugins.labels(model)
    names = options.class_names or (known.class_names if known else ())
    takes = label_parameters(model)
    plain = as_batch(with_labels(value) if known else value, takes=takes, class_names=names)
    meaning = known.interpret(plain.to(device_of(model))) if known else None
    loss = resolved(options.loss, meaning.loss if meaning else None)
    reader = BatchReader(takes, meaning, names, as_given=isinstance(loss.loss, FunctionLoss))
    own = OwnBatches(values, reader, options.samples, loss.distribution == "classes")
    again = iter(own) if isinstance(values, Iterator) else own
    target = named_target(options.target, names)
    chosen = options.loss is not None
    return _Labelled(own.first(value), again, own, loss, target, meaning, chosen)


def _check_labels(
    study: _Labelled, planned: Planned, choice: MetricChoice, options: Options
) -> None:
    """Raise `DataError` for labels that are missing, and for metrics that the loss rules out."""
    plan, own = planned.plan, isinstance(study.loss.loss, FunctionLoss)
    labelled = plan.gradient and not own and study.target is None
    check_targets(study.first, labelled, plan.targets)
    for name, metric in choice.metrics.items():
        if why := undefined_under(study.loss, metric, options.classes is not None, study.target):
            raise DataError(f"{name} {why}")


def _misfit(
    metric: Metric,
    model: nn.Module,
    graph: ChannelGraph,
    study: _Labelled,
    options: Options,
    predicts: bool,
) -> str:
    """Return the reason why a metric does not fit the model or its batches; empty if it fits."""
    own = isinstance(study.loss.loss, FunctionLoss) or study.target is not None
    needs_logits = reads_predictions if own else reads_a_loss
    if needs_logits(metric) and study.first.targets is None:
        return "needs labels: give batches of (inputs, targets)"
    if needs_logits(metric) and not predicts:
        return f"needs a loss, {NO_LOSS}"
    try:
        check_targets(study.first, False, reads_classes(metric))
    except DataError as error:
        return str(error)
    why = undefined_under(study.loss, metric, options.classes is not None, study.target)
    return why or unreadable(graph, metric, model)


def _with_left_out(scores: Scores, given: _Given) -> Scores:
    """Return the scores, with the reasons why patterns left metrics out, for every group."""
    reasons = given.choice.left_out.items()
    left_out = {(name, group.name): why for name, why in reasons for group in given.graph}
    return evolve(scores, skipped={**scores.skipped, **left_out})


def _planned(given: _Given, example: Batch) -> Planned:
    """Return the plan; the number of classes is given, or that of the model's outputs."""
    planned = given.plan()
    check_targets(example, False, planned.plan.targets)
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
    """Capture and score; states beyond the memory budget lie in a file until they are scored."""
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
            given.loss,
            given.target,
            seed=given.options.seed,
            store=Path(folder),
            enough=rule,
            workers=given.options.workers,
        )
        capture = plugins.capture(request)
        for warning in warnings_of(capture.counts):
            log.warning("%s", warning)
        if rule is not None:
            _tell(rule, capture)
        scores = plugins.score(ScoreRequest(given.model, given.graph, planned.metrics, capture))
        check_scored(scores, capture)
        return scores


def _tell(rule: StoppingRule, capture: Capture) -> None:
    """Log whether the samples were enough."""
    rule.look(capture)
    if rule.reached:
        log.info("the top by %s was stable after %s samples", rule.metric, capture.samples)
    else:
        log.warning("the top by %s was not stable after %s samples", rule.metric, capture.samples)
