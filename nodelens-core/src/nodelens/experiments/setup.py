"""The first stages: device, data, model, channel groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from attrs import asdict, frozen

from nodelens.capture.plan import CapturePlan
from nodelens.capture.planning import make_plan
from nodelens.channels.groups import ChannelGraph
from nodelens.channels.infer import infer
from nodelens.data.splits import Splits, calibration, split
from nodelens.errors import ConfigError, DataError, ModelError
from nodelens.models.contract import ModelHandle, ModelRequest
from nodelens.scoring.contract import Metric, checked_metric
from nodelens.seeding import derive_seed
from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from nodelens.config.schema import Component, RunConfig
    from nodelens.data.contract import Samples
    from nodelens.experiments.pruning import Pruner
    from nodelens.plugins.manager import Plugins
    from nodelens.plugins.registry import Registry


@frozen(eq=False)
class Subject:
    """What is studied: the data, the model, and its channel groups."""

    splits: Splits
    calibration: Samples
    handle: ModelHandle
    graph: ChannelGraph


def choose_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is CUDA when there is one, else the CPU.

    Raises `ConfigError` when the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ConfigError(
                [f"device: {name} is not there (CUDA devices: {count}); use auto or cpu"]
            )
    return device


def load_subject(
    config: RunConfig, plugins: Plugins, device: torch.device, allow_import: tuple[str, ...] = ()
) -> Subject:
    """Load the data, build the model on `device` and infer its channel groups."""
    data = plugins.registry.build("dataset", config.data.component).load()  # type: ignore[attr-defined]
    splits = split(data, config.data, config.seed)
    request = ModelRequest(
        input_shape=tuple(splits.train.inputs.shape[1:]),
        classes=len(splits.classes),
        seed=derive_seed(config.seed, "model"),
        allow_import=allow_import,
    )
    backend = plugins.registry.build("backend", config.model)
    handle: ModelHandle = backend.build(request)  # type: ignore[attr-defined]
    handle.module.to(device)
    example = splits.train.inputs[:2].to(device)
    _check_forward(handle, example, len(splits.classes))
    chosen = calibration(splits.train, config.capture, config.seed)
    if not len(splits.test):
        raise DataError(
            "there are no test samples to evaluate on: data.test_fraction is 0 and the dataset "
            "brings none; set data.test_fraction above 0"
        )
    graph = infer(handle.module, example, rules=plugins.operator_rules())
    return Subject(splits, chosen, handle, graph)


def _check_forward(handle: ModelHandle, example: torch.Tensor, classes: int) -> None:
    """Run the model once, so that a model that does not fit the data is refused in words."""
    from nodelens.capture.engine import untouched
    from nodelens.capture.losses import logits_of

    try:
        with untouched(handle.module), torch.no_grad():
            logits = logits_of(handle.module(example))
    except (RuntimeError, TypeError, ValueError) as error:
        shape = tuple(example.shape[1:])
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{handle.origin} does not run on samples of shape {shape}: {reason}; "
            "change the model's options or the data's"
        ) from error
    if logits.shape[-1] < classes:
        raise ModelError(
            f"{handle.origin} gives {logits.shape[-1]} outputs for data with {classes} classes"
        )


@frozen(eq=False)
class Chosen:
    """The metrics of a run by the name that they have in its results, and its pruning methods."""

    metrics: dict[str, Metric]
    pruners: dict[str, Pruner]


def choose_metrics(config: RunConfig, registry: Registry) -> Chosen:
    """Make the metrics and pruners of a config; what a pruner ranks by joins the metrics."""
    from nodelens.config.schema import Component

    metrics = {part.result_name: _metric(registry, part) for part in config.metrics}
    pruners: dict[str, Any] = {
        part.result_name: registry.build("pruner", part) for part in config.pruning
    }
    for pruner in pruners.values():
        for name in pruner.metrics():
            if name not in metrics:
                metrics[name] = _metric(registry, Component(name))
    return Chosen(metrics, pruners)


def _metric(registry: Registry, component: Component) -> Metric:
    return checked_metric(component.result_name, registry.build("metric", component))


@frozen
class MeanActivations:
    """Asks for the mean of every node, which interventions and pruning replace nodes by."""

    def needs(self) -> tuple[Moments, ...]:
        """Return the one statistic."""
        return (Moments(),)


def plan_capture(config: RunConfig, subject: Subject, chosen: Chosen) -> CapturePlan:
    """Return what the run's one pass will read."""
    asking: list[Any] = list(chosen.metrics.values())
    if config.interventions or config.pruning:
        asking.append(MeanActivations())
    classes = len(subject.splits.classes)
    return make_plan(
        subject.graph, asking, config.capture.folds, classes, model=subject.handle.module
    )


def graph_json(graph: ChannelGraph) -> dict[str, Any]:
    """Return the channel groups as JSON values."""
    return {
        "traced": graph.traced,
        "note": graph.note,
        "unknown_operators": dict(graph.unknown_operators),
        "groups": [asdict(group) for group in graph],
    }
