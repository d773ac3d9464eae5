"""What a run cannot do with a model that makes no predictions, such as an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodelens.errors import ConfigError

if TYPE_CHECKING:
    from nodelens.config.schema import RunConfig
    from nodelens.experiments.setup import RunComponents
    from nodelens.interfaces.metric import Metric

_OF_A_LOSS = frozenset({"gradient", "sampled_gradient", "outputs"})
_ADVICE = "leave it out, or use a model with a head for the labels, whose nodes are the same"


def check_needs(config: RunConfig, chosen: RunComponents) -> None:
    """Raise `ConfigError` that names everything in a run that needs a loss."""
    problems = [*_problems(config, chosen)]
    if problems:
        raise ConfigError(problems)


def _problems(config: RunConfig, chosen: RunComponents) -> Iterator[str]:
    why = "and this model makes no predictions (its output has no logits)"
    if config.training is not None:
        yield f"training: needs a loss, {why}; leave it out"
    for name, metric in chosen.metrics.items():
        if _reads_a_loss(metric):
            yield f"metrics: {name} needs a loss, {why}; {_ADVICE}"
    for name in chosen.recoveries:
        yield f"recovery: {name} needs a loss, {why}; leave it out"


def _reads_a_loss(metric: Metric) -> bool:
    """Return whether any of a metric's statistics needs gradients, predictions or own passes."""
    return any(
        str(each.reads) in ("model", "loss")
        or _OF_A_LOSS & frozenset(getattr(each, "requires", ()))
        for each in metric.statistics
    )
