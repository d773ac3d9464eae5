"""The Python interface: the same words as the command line, on your own model and batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodelens.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.capture.engine import Loss
    from nodelens.channels.groups import ChannelGraph
    from nodelens.plugins.manager import Plugins
    from nodelens.scoring.contract import Metric
    from nodelens.scoring.scores import Scores
    from nodelens.storage.run_folder import RunFolder


def infer(model: nn.Module, *args: Any, **kwargs: Any) -> ChannelGraph:  # noqa: ANN401
    """Return the channel groups of `model`, found by one forward on fake copies of the inputs."""
    from nodelens.channels.infer import infer as infer_channels

    return infer_channels(model, *args, **kwargs)


def score(
    model: nn.Module,
    batches: Iterable[Any],
    metrics: Sequence[str | Mapping[str, Any] | Metric],
    *,
    loss: Loss | None = None,
    folds: int = 8,
    classes: int | None = None,
    plugins: Plugins | None = None,
) -> Scores:
    """Score every node of `model` by `metrics`, from one pass over `batches`.

    `batches` yields tensors, ``(inputs, targets)`` or dicts of keyword arguments, in which the
    first axis runs over samples; it is read once and nothing of it is stored. `metrics` are names,
    mappings with ``name`` and options, or metric objects. `loss` maps the model's output and the
    batch to one summed loss per row, ``(rows,)``; left out, the cross-entropy of the logits.
    `classes` is needed only by class metrics when the model has more outputs than the data has
    classes. The model stays as it was, on its own device. Raises `NodelensError` subclasses for
    mistakes.
    """
    import torch

    from nodelens.capture.engine import CaptureRequest
    from nodelens.capture.losses import row_losses
    from nodelens.capture.planning import make_plan
    from nodelens.channels.infer import infer as infer_channels
    from nodelens.plugins.manager import load_plugins
    from nodelens.scoring.engine import ScoreRequest

    loaded = plugins or load_plugins()
    model = _plain_module(model)
    _check_numbers(folds, classes)
    chosen = _metrics(metrics, loaded)
    first, rest = _peek(batches)
    example = first.to(_device(model))
    _check_forward(model, example)
    rules = loaded.operator_rules()
    with torch.inference_mode(False):
        graph = infer_channels(model, *example.args, rules=rules, **example.kwargs)
    plan = make_plan(graph, list(chosen.values()), folds, model=model)
    if plan.targets:
        classes = classes or _outputs(model, example)
        plan = make_plan(graph, list(chosen.values()), folds, classes, model=model)
    _check_targets(first, plan.gradient and loss is None, plan.targets)
    request = CaptureRequest(model, graph, rest, plan, _device(model), loss or row_losses)
    with torch.inference_mode(False):
        scores = loaded.score(ScoreRequest(model, graph, chosen, loaded.capture(request)))
    loaded.scored(scores, None)
    return scores


def run(
    config: str | Path | Mapping[str, Any],
    *overrides: str,
    allow_import: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> RunFolder:
    """Do everything that a config says and return the run folder.

    `config` is the path of a YAML file or a mapping of the same shape; `overrides` are strings like
    ``training.epochs=5``. Raises `ConfigError` for a config with a ``sweep:`` (see `run_all`).
    """
    folders = _runs(config, overrides, allow_import, plugins, single=True)
    return next(folders)


def run_all(
    config: str | Path | Mapping[str, Any],
    *overrides: str,
    allow_import: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> list[RunFolder]:
    """Do every run of a config with a ``sweep:`` and return the run folders, in order."""
    return list(_runs(config, overrides, allow_import, plugins, single=False))


def _runs(
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    allow_import: Sequence[str],
    plugins: Plugins | None,
    single: bool,
) -> Iterator[RunFolder]:
    from nodelens.config.check import check_config, plugin_settings
    from nodelens.config.load import raw_from_mapping, read_config
    from nodelens.config.sweep import expand
    from nodelens.experiments.run import run_experiment
    from nodelens.plugins.manager import load_plugins

    if not isinstance(config, str | Path | Mapping):
        raise ConfigError([f"expected a file or a mapping, got {type(config).__name__}"])
    if wrong := [each for each in overrides if not isinstance(each, str)]:
        raise ConfigError([f"an override is written 'key.path=value', got {wrong[0]!r}"])
    if isinstance(config, Mapping):
        raw = raw_from_mapping(dict(config), overrides)
    else:
        raw = read_config(Path(config), overrides)
    points = expand(raw)
    if single and len(points) > 1:
        raise ConfigError([f"this config sweeps over {len(points)} runs; use nodelens.run_all"])
    loaded = plugins or load_plugins(plugin_settings(raw))
    checked = [check_config(point, loaded.registry) for point in points]
    for each in checked:
        yield run_experiment(each, loaded, allow_import=tuple(allow_import))


def _metrics(
    chosen: Sequence[str | Mapping[str, Any] | Metric], plugins: Plugins
) -> dict[str, Metric]:
    from nodelens.config.schema import Component
    from nodelens.scoring.contract import checked_metric

    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        example = chosen if isinstance(chosen, str) else "activation_rms"
        raise ConfigError([f"metrics: give a list, such as [{example!r}]"])
    found: dict[str, Metric] = {}
    for item in chosen:
        if isinstance(item, str):
            name, metric = item, plugins.registry.build("metric", Component(item))
        elif isinstance(item, Mapping):
            if not isinstance(item.get("name"), str):
                raise ConfigError([f"metrics: {dict(item)!r} has no name"])
            options = {key: value for key, value in item.items() if key not in ("name", "label")}
            name = item.get("label", item["name"])
            metric = plugins.registry.build("metric", Component(item["name"], options))
        else:
            name, metric = type(item).__name__, item
        if name in found:
            raise ConfigError([f"metrics: {name!r} is there twice; give one of them a label"])
        found[name] = checked_metric(name, metric)
    if not found:
        raise ConfigError(["metrics: the list is empty; see `nodelens metrics`"])
    return found


def _plain_module(model: object) -> nn.Module:
    """Return the module, without the wrapper of ``torch.compile``, whose hooks would not fire."""
    from torch import nn

    inner = getattr(model, "_orig_mod", model)
    if not isinstance(inner, nn.Module):
        raise ModelError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    return inner


def _check_numbers(folds: object, classes: object) -> None:
    if type(folds) is not int or folds < 2:
        raise ConfigError([f"folds: expected a whole number of at least 2, got {folds!r}"])
    if classes is not None and (type(classes) is not int or classes < 2):
        raise ConfigError([f"classes: expected a whole number of at least 2, got {classes!r}"])


def _check_forward(model: nn.Module, batch: Batch) -> None:
    """Run the model on the first batch, so that a batch that does not fit is refused in words."""
    import torch

    from nodelens.capture.engine import untouched

    try:
        with untouched(model), torch.no_grad():
            batch.call(model)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        raise ModelError(
            f"the model does not run on the first batch: {type(error).__name__}: {reason}"
        ) from error


def _peek(batches: Iterable[Any]) -> tuple[Batch, Iterator[Any]]:
    from nodelens.capture.batches import as_batch

    if not isinstance(batches, Iterable):
        raise DataError(f"batches must be an iterable of batches, got {type(batches).__name__}")
    iterator = iter(batches)
    for value in iterator:
        return as_batch(value), chain([value], iterator)
    raise DataError("there are no batches; give at least one sample")


def _device(model: nn.Module) -> torch.device:
    import torch

    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _outputs(model: nn.Module, batch: Batch) -> int:
    import torch

    from nodelens.capture.engine import untouched
    from nodelens.capture.losses import logits_of

    with untouched(model), torch.no_grad():
        return int(logits_of(batch.call(model)).shape[-1])


def _check_targets(batch: Batch, for_gradients: bool, for_classes: bool) -> None:
    if batch.targets is None and (for_gradients or for_classes):
        what = "gradient" if for_gradients else "class"
        raise DataError(
            f"{what} metrics need labels: give batches of (inputs, targets)"
            + (", or a loss" if for_gradients else "")
        )
