"""The metrics, pruning methods and recoveries of a run, and the plan of its capture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from nodelens.capture.plan.budgeted_plan import Planned, plan_metrics
from nodelens.capture.plan.planning import unreadable
from nodelens.config.metric_dependencies import with_parts
from nodelens.config.patterns import expand
from nodelens.config.rankings import join_ranked, pair_problems
from nodelens.config.schema import Component
from nodelens.config.sizes import size_bytes
from nodelens.errors import ConfigError
from nodelens.experiments.convergence import check_rule
from nodelens.experiments.loss_requirements import (
    NO_LOSS,
    check_needs,
    reads_a_loss,
    reads_classes,
    undefined_under,
)
from nodelens.plugins.checked_metric import checked_metric
from nodelens.scoring.metric_choice import MetricChoice
from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from nodelens.config.schema import RunConfig
    from nodelens.experiments.setup import StudyInputs
    from nodelens.interfaces.metric import Metric
    from nodelens.interfaces.pruner import Pruner
    from nodelens.interfaces.recovery import Recovery
    from nodelens.plugins.registry import Registry


@frozen(eq=False)
class RunComponents:
    """The metrics, pruning methods and recoveries of a run, by their names in its results.

    `components` are the metrics of the config, with what patterns match in their place.
    """

    choice: MetricChoice
    pruners: dict[str, Pruner]
    recoveries: dict[str, Recovery]
    components: tuple[Component, ...] = ()

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics of the run, with the dependencies of other metrics."""
        return self.choice.metrics


NO_CLASSES = (
    "compares classes of samples, and these data have a label per position (a token or a tag) and "
    "no classes of rows"
)


def choose_metrics(config: RunConfig, registry: Registry) -> RunComponents:
    """Make the metrics, pruners and recoveries of a config.

    What a pruner ranks by joins the metrics, and so does what a metric is made of. Raises
    `ConfigError` for unknown parts and for metrics that are made of each other.
    """
    expansion = expand(config.metrics, registry)
    metrics = {part.result_name: _metric(registry, part) for part in expansion.components}
    pruners: dict[str, Any] = {
        part.result_name: registry.build("pruner", part) for part in config.pruning
    }

    def build(name: str) -> Metric:
        return _metric(registry, Component(name))

    ranked_by = [
        name
        for label, pruner in pruners.items()
        for name in join_ranked(label, pruner, metrics, registry, build)
    ]
    recoveries: dict[str, Any] = {
        part.result_name: registry.build("recovery", part) for part in config.recovery
    }
    if problems := [f"recovery: {each.text}" for each in pair_problems(pruners, recoveries)]:
        raise ConfigError(problems)
    joined = with_parts(
        metrics, build, registry.names("metric"), registry.unloaded, registry.own_name
    )
    taken = expansion.taken.difference(ranked_by)
    choice = MetricChoice(joined, tuple(metrics), taken, expansion.left_out)
    return RunComponents(choice, pruners, recoveries, expansion.components)


def _metric(registry: Registry, component: Component) -> Metric:
    return checked_metric(component.result_name, registry.build("metric", component))


@frozen
class MeanActivations:
    """Requests the mean of every node, for interventions and pruning that replace by means."""

    statistics = (Moments(),)


def plan_capture(config: RunConfig, study: StudyInputs, chosen: RunComponents) -> Planned:
    """Return the plan of the run's passes, and the metrics as the plan can score them.

    Raises `ConfigError` for a memory budget that is too small, for a stopping rule that cannot be
    judged within the first pass, and for metrics of classes on data that have none.
    """
    settings = config.capture
    choice = chosen.choice.fitting(lambda metric: misfit(study, metric))
    chosen = evolve(chosen, choice=choice)
    if not study.predicts:
        check_needs(config, chosen)
    _check_defined(study, chosen)
    if study.splits.train.sequences:
        _check_label_metrics(chosen)
    planned = plan_metrics(
        study.graph,
        chosen.metrics,
        settings.folds,
        len(study.splits.classes),
        model=study.handle.module,
        budget=None if settings.memory_budget is None else size_bytes(settings.memory_budget),
        others=(MeanActivations(),) if config.interventions or config.pruning else (),
        position_fraction=settings.position_fraction,
    )
    planned = evolve(planned, taken=tuple(sorted(choice.taken)), left_out=choice.left_out)
    if settings.stop_when is not None:
        check_rule(settings.stop_when, planned)
    return planned


def misfit(study: StudyInputs, metric: Metric) -> str:
    """Return the reason why a metric does not fit the data or the model; empty if it fits."""
    if not study.predicts and reads_a_loss(metric):
        return f"needs a loss, {NO_LOSS}"
    if why := undefined_under(study.loss, metric, target=study.target):
        return why
    if reads_classes(metric):
        if study.splits.train.sequences:
            return NO_CLASSES
        if not study.splits.train.labelled:
            return "compares classes of samples, and these data have no labels"
    return unreadable(study.graph, metric, study.handle.module)


def _check_defined(study: StudyInputs, chosen: RunComponents) -> None:
    """Raise `ConfigError` for metrics that the loss or the target of the run rules out."""
    reasons = {
        name: undefined_under(study.loss, metric, target=study.target)
        for name, metric in chosen.metrics.items()
    }
    problems = [f"metrics: {name} {why}; leave it out" for name, why in reasons.items() if why]
    if problems:
        raise ConfigError(problems)


def _check_label_metrics(chosen: RunComponents) -> None:
    """Raise `ConfigError` for metrics of classes on data with a label per position."""
    for name, metric in chosen.metrics.items():
        if reads_classes(metric):
            raise ConfigError([f"metrics: {name} {NO_CLASSES}; leave it out"])
