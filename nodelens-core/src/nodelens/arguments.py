"""Checks and conversion of the arguments of the Python interface."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from re import fullmatch
from typing import TYPE_CHECKING, Any

from nodelens.config.schema import FILE_NAME, Component, is_pattern
from nodelens.errors import ConfigError, DataError, ModelError, did_you_mean
from nodelens.plugins.checked_metric import checked_metric

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.config.schema import PluginSettings, StoppingSettings
    from nodelens.interfaces.loss import Loss, RowLoss
    from nodelens.interfaces.metric import Metric
    from nodelens.plugins.manager import Plugins
    from nodelens.plugins.registry import Registry
    from nodelens.scoring.metric_choice import MetricChoice

    Asked = str | Mapping[str, Any] | Metric
    LossGiven = str | Mapping[str, Any] | Loss | Callable[[Any, Batch], Any] | None


def chosen_metrics(chosen: Sequence[Asked], plugins: Plugins) -> MetricChoice:
    """Return the metrics by name, with all their dependencies; raises `ConfigError`."""
    from nodelens.config.metric_dependencies import with_parts
    from nodelens.config.patterns import take
    from nodelens.scoring.metric_choice import MetricChoice

    registry, names = plugins.registry, _names_of(chosen)
    found: dict[str, Metric] = {}
    taken: dict[str, Metric] = {}
    left_out: dict[str, str] = {}
    for name, item in zip(names, chosen, strict=True):
        if is_pattern(name):
            fresh, reasons = take(name, registry, {*names, *found, *left_out})
            taken |= {each.result_name: _metric(registry, each.name) for each in fresh}
            found |= taken
            left_out |= reasons
        else:
            found[name] = _metric(registry, item)

    def build(name: str) -> Metric:
        return _metric(registry, name)

    joined = with_parts(
        found, build, registry.names("metric"), registry.unloaded, registry.own_name
    )
    return MetricChoice(joined, tuple(found), frozenset(taken), left_out)


def _names_of(chosen: Sequence[Asked]) -> list[str]:
    """Return the names of metrics in the results, or patterns; raises `ConfigError`."""
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        example = chosen if isinstance(chosen, str) else "activation_rms"
        raise ConfigError([f"metrics: give a list, such as [{example!r}]"])
    if not chosen:
        raise ConfigError(["metrics: the list is empty; see `nodelens metrics`"])
    names = [_name_of(item) for item in chosen]
    for name in names:
        if names.count(name) > 1:
            advice = "take one out" if is_pattern(name) else "give one of them a label"
            raise ConfigError([f"metrics: {name!r} is there twice; {advice}"])
    return names


def _name_of(item: Asked) -> str:
    if isinstance(item, str):
        return item
    if not isinstance(item, Mapping):
        return type(item).__name__
    if not isinstance(item.get("name"), str):
        raise ConfigError([f"metrics: {dict(item)!r} has no name"])
    if is_pattern(item["name"]) and len(item) > 1:
        raise ConfigError([f"metrics: the pattern {item['name']!r} takes no options and no label"])
    label = item.get("label")
    if label is not None and not (isinstance(label, str) and fullmatch(FILE_NAME, label)):
        words = "expected letters, digits, '.', '_' and '-', with a letter or digit first"
        raise ConfigError([f"metrics: the label {label!r} of {item['name']!r}: {words}"])
    return Component(item["name"], label=label).result_name


def _metric(registry: Registry, item: Asked) -> Metric:
    if isinstance(item, str):
        return checked_metric(item, registry.build("metric", Component(item)))
    if not isinstance(item, Mapping):
        return checked_metric(type(item).__name__, item)
    options = {key: value for key, value in item.items() if key not in ("name", "label")}
    return checked_metric(
        _name_of(item), registry.build("metric", Component(item["name"], options))
    )


def chosen_loss(given: object, plugins: Plugins, argument: str = "loss") -> RowLoss | None:
    """Return a loss that is given as name, mapping, object or function; raises `ConfigError`."""
    from nodelens.config.schema import Component
    from nodelens.interfaces.loss import Loss, RowLoss
    from nodelens.losses.function import FunctionLoss

    if given is None:
        return None
    if isinstance(given, str):
        given = {"name": given}
    if isinstance(given, Mapping):
        name = given.get("name")
        if not isinstance(name, str):
            raise ConfigError([f"{argument}: {dict(given)!r} has no name"])
        options = {key: value for key, value in given.items() if key != "name"}
        built: Any = plugins.registry.build("loss", Component(name, options))
        return RowLoss(built, name.rpartition(":")[2])
    if isinstance(given, Loss):
        return RowLoss(given, type(given).__name__)
    if callable(given):
        return RowLoss(FunctionLoss(given), f"the function given as {argument}")
    words = "a name, a mapping with 'name', a Loss or a function of (output, batch)"
    raise ConfigError([f"{argument}: expected {words}, got {type(given).__name__}"])


def chosen_target(given: object, plugins: Plugins) -> RowLoss | None:
    """Return what nodes are scored for in place of the loss; raises `ConfigError`.

    A number or a name that is no target is the logit of a class.
    """
    from nodelens.interfaces.loss import LossInfo, RowLoss
    from nodelens.losses.function import FunctionLoss
    from nodelens.losses.output_targets import ClassLogit

    names = plugins.registry.names("loss")
    if type(given) is int or (isinstance(given, str) and given not in names):
        return RowLoss(ClassLogit(given), f"the logit of class {given}")
    found = chosen_loss(given, plugins, "target")
    if found is None or not isinstance(found.loss, FunctionLoss):
        return found
    upward = LossInfo(unit="target", higher_is_better=True)
    return RowLoss(FunctionLoss(found.loss.function, upward), found.name)


def check_samples(samples: object) -> None:
    """Raise `ConfigError` for an impossible number of samples."""
    if samples is not None and (type(samples) is not int or samples < 1):
        raise ConfigError([f"samples: expected a whole number of at least 1, got {samples!r}"])


def name_list(names: Any) -> tuple[str, ...]:
    """Return the names of classes; raises `ConfigError` unless they are texts, each once."""
    if isinstance(names, str) or not all(isinstance(each, str) for each in names or ()):
        raise ConfigError([f"class_names: expected a list of names, got {names!r}"])
    if len(set(names or ())) < len(names or ()):
        raise ConfigError(["class_names: a name is there twice"])
    return tuple(names or ())


def plain_module(model: object) -> nn.Module:
    """Return the module, without the wrapper of ``torch.compile``, whose hooks would not fire."""
    from torch import nn

    from nodelens.capture.hooks.site_hooks import check_hookable

    inner = getattr(model, "_orig_mod", model)
    if not isinstance(inner, nn.Module):
        raise ModelError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    check_hookable(inner)
    return inner


def loaded_plugins(plugins: object, settings: PluginSettings | None = None) -> Plugins:
    """Return the given plugins, or load those of a config; raises `ConfigError` for others."""
    from nodelens.plugins.manager import Plugins, load_plugins

    if plugins is None:
        return load_plugins(settings)
    if not isinstance(plugins, Plugins):
        raise ConfigError(
            [
                f"plugins: expected what load_plugins() of nodelens.plugins.manager returns, got "
                f"{type(plugins).__name__}"
            ]
        )
    return plugins


def budget_bytes(given: str | int | None) -> int | None:
    """Return a memory budget in bytes; raises `ConfigError`."""
    from nodelens.config.sizes import EXPECTED, size_bytes

    if given is None or (type(given) is int and given > 0):
        return given
    if isinstance(given, str):
        return size_bytes(given)
    raise ConfigError([f"memory_budget: expected {EXPECTED}, bytes or None, got {given!r}"])


def check_numbers(folds: object, classes: object, seed: object = 0) -> None:
    """Raise `ConfigError` for impossible numbers of folds and classes, and for impossible seeds."""
    if type(folds) is not int or folds < 2:
        raise ConfigError([f"folds: expected a whole number of at least 2, got {folds!r}"])
    if classes is not None and (type(classes) is not int or classes < 2):
        raise ConfigError([f"classes: expected a whole number of at least 2, got {classes!r}"])
    if type(seed) is not int or seed < 0:
        raise ConfigError([f"seed: expected a whole number of at least 0, got {seed!r}"])


def check_fraction(positions: Any) -> float:
    """Return a fraction of the positions; raises `ConfigError` unless above 0 and at most 1."""
    number = isinstance(positions, int | float) and not isinstance(positions, bool)
    if not number or not 0.0 < positions <= 1.0:
        words = "expected a number above 0 and at most 1"
        raise ConfigError([f"position_fraction: {words}, got {positions!r}"])
    return float(positions)


def stopping_settings(
    stop_when: Mapping[str, Any] | StoppingSettings | None, metrics: Collection[str]
) -> StoppingSettings | None:
    """Return the stopping rule of a mapping like ``capture.stop_when`` of a config.

    Raises `ConfigError` for a mapping of another shape, and for a metric that is not scored.
    """
    from nodelens.config.options import structure_options
    from nodelens.config.schema import StoppingSettings

    if stop_when is None:
        return None
    found: object = stop_when
    if isinstance(stop_when, Mapping):
        found = structure_options(StoppingSettings, stop_when, "stop_when")
    if not isinstance(found, StoppingSettings):
        example = "{'metric': 'taylor', 'top': 0.1, 'min_overlap': 0.95}"
        raise ConfigError([f"stop_when: expected a mapping such as {example}, got {stop_when!r}"])
    if found.metric not in metrics:
        hint = did_you_mean(found.metric, metrics)
        raise ConfigError([f"stop_when: {found.metric!r} is not one of the metrics{hint}"])
    return found


def check_forward(model: nn.Module, batch: Batch) -> bool:
    """Run the model on the first batch, so that a batch that does not fit gets a readable error.

    Returns whether its output has logits. Raises `DataError` for inputs without an axis of samples.
    """
    import torch

    from nodelens.capture.engine import untouched
    from nodelens.capture.losses import has_logits

    with untouched(model), torch.no_grad():
        output = batch.call(model)
        _check_sample_axis(model, batch)
    return has_logits(output)


def _check_sample_axis(model: nn.Module, batch: Batch) -> None:
    """Raise `DataError` where inputs of one axis are one sample, not a row of samples."""
    import torch

    if len(batch.args) != 1 or batch.args[0].ndim != 1 or batch.rows < 2:
        return
    try:
        batch.rows_where(torch.arange(batch.rows) < 1).call(model)
    except ModelError as error:
        raise DataError(
            f"the inputs have shape {tuple(batch.args[0].shape)}, which is one sample without an "
            "axis of samples; give (samples, features), such as inputs[None] for one"
        ) from error


def peeked(batches: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    """Return the first batch, and all batches, which can be read again where possible."""
    if not isinstance(batches, Iterable):
        raise DataError(f"batches must be an iterable of batches, got {type(batches).__name__}")
    iterator = iter(batches)
    for value in iterator:
        again = batches if iterator is not batches else chain([value], iterator)
        return value, again
    raise DataError("there are no batches; give at least one sample")


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer."""
    import torch

    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def count_outputs(model: nn.Module, batch: Batch) -> int:
    """Return the number of logits of a model."""
    import torch

    from nodelens.capture.engine import untouched
    from nodelens.capture.losses import class_logits, logits_of

    with untouched(model), torch.no_grad():
        output = batch.call(model)
    found = logits_of(output) if batch.targets is None else class_logits(output, batch.targets)
    return int(found.shape[-1])


def check_targets(batch: Batch, for_gradients: bool, for_classes: bool) -> None:
    """Raise `DataError` when labels are needed and the first batch has none."""
    if batch.targets is None and (for_gradients or for_classes):
        what = "gradient" if for_gradients else "class"
        raise DataError(
            f"{what} metrics need labels: give batches of (inputs, targets)"
            + (", or a loss" if for_gradients else "")
        )
    if for_classes and batch.targets is not None and batch.targets.ndim > 1:
        raise DataError(
            "class metrics compare classes of samples, and these batches have a label per position "
            "(a token or a tag); leave them out"
        )
