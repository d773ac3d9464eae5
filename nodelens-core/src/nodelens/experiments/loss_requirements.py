"""Checks of a config for a model that makes no predictions, such as an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodelens.errors import ConfigError

if TYPE_CHECKING:
    from nodelens.config.schema import RunConfig
    from nodelens.experiments.run_components import RunComponents
    from nodelens.interfaces.loss import RowLoss
    from nodelens.interfaces.metric import Metric

_OF_A_LOSS = frozenset({"gradient", "sampled_gradient", "outputs"})
_ADVICE = "leave it out, or use a model with a head for the labels, whose nodes are the same"


NO_LOSS = "and this model makes no predictions (its output has no logits)"


def check_needs(config: RunConfig, chosen: RunComponents) -> None:
    """Raise `ConfigError` that names everything in a run that needs a loss."""
    problems = [*_problems(config, chosen)]
    if problems:
        raise ConfigError(problems)


def _problems(config: RunConfig, chosen: RunComponents) -> Iterator[str]:
    if config.training is not None:
        yield f"training: needs a loss, {NO_LOSS}; leave it out"
    for name, metric in chosen.metrics.items():
        if reads_a_loss(metric):
            yield f"metrics: {name} needs a loss, {NO_LOSS}; {_ADVICE}"
    for name in chosen.recoveries:
        yield f"recovery: {name} needs a loss, {NO_LOSS}; leave it out"


def undefined_under(
    loss: RowLoss, metric: Metric, classes_given: bool = False, target: RowLoss | None = None
) -> str:
    """Return why a metric is undefined under a loss or a target; empty where it is defined."""
    needs = _requirements(metric)
    if target is not None and "sampled_gradient" in needs:
        return f"is about the loss of labels drawn from the model, not about {target.name}"
    if "sampled_gradient" in needs and loss.distribution is None:
        return f"draws labels from the model, and {loss.name} is no distribution over labels"
    if "outputs" in needs and loss.distribution != "classes":
        return f"is about probabilities of classes, and {loss.name} gives classes none"
    if "targets" in needs and loss.distribution != "classes" and not classes_given:
        return (
            f"compares classes, and {loss.name} is no loss of classes (in Python, classes= says "
            "that the labels are classes all the same)"
        )
    return ""


def reads_classes(metric: Metric) -> bool:
    """Return whether any of a metric's statistics needs the classes of samples."""
    return "targets" in _requirements(metric)


def reads_predictions(metric: Metric) -> bool:
    """Return whether any of a metric's statistics needs logits, independent of the loss."""
    return bool({"outputs", "sampled_gradient"} & _requirements(metric))


def reads_a_loss(metric: Metric) -> bool:
    """Return whether any of a metric's statistics needs gradients, predictions or own passes."""
    reads = {str(each.reads) for each in metric.statistics}
    return bool({"model", "loss"} & reads or _OF_A_LOSS & _requirements(metric))


def _requirements(metric: Metric) -> set[str]:
    """Return the requirements of a metric's statistics, without statistics that run the model."""
    return {need for each in metric.statistics for need in getattr(each, "requires", ())}
