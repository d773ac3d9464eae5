"""What the Python interface is given, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from nodelens.errors import ConfigError, DataError, ModelError, did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.config.schema import StoppingSettings
    from nodelens.interfaces.metric import Metric
    from nodelens.plugins.manager import Plugins


def chosen_metrics(
    chosen: Sequence[str | Mapping[str, Any] | Metric], plugins: Plugins
) -> dict[str, Metric]:
    """Return the metrics by name, with all that they are made of; raises `ConfigError`."""
    from nodelens.config.parts import with_parts
    from nodelens.config.schema import Component
    from nodelens.scoring.checked_metric import checked_metric

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

    def build(name: str) -> Metric:
        return checked_metric(name, plugins.registry.build("metric", Component(name)))

    return with_parts(found, build, plugins.registry.names("metric"))


def plain_module(model: object) -> nn.Module:
    """Return the module, without the wrapper of ``torch.compile``, whose hooks would not fire."""
    from torch import nn

    from nodelens.capture.hooks.site_hooks import check_hookable

    inner = getattr(model, "_orig_mod", model)
    if not isinstance(inner, nn.Module):
        raise ModelError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    check_hookable(inner)
    return inner


def budget_bytes(given: str | int | None) -> int | None:
    """Return a memory budget in bytes; raises `ConfigError`."""
    from nodelens.config.sizes import EXPECTED, size_bytes

    if given is None or (type(given) is int and given > 0):
        return given
    if isinstance(given, str):
        return size_bytes(given)
    raise ConfigError([f"memory_budget: expected {EXPECTED}, bytes or None, got {given!r}"])


def check_numbers(folds: object, classes: object) -> None:
    """Raise `ConfigError` for numbers of folds and classes that cannot be."""
    if type(folds) is not int or folds < 2:
        raise ConfigError([f"folds: expected a whole number of at least 2, got {folds!r}"])
    if classes is not None and (type(classes) is not int or classes < 2):
        raise ConfigError([f"classes: expected a whole number of at least 2, got {classes!r}"])


def check_share(tokens: object) -> float:
    """Return a share of the positions; raises `ConfigError` unless it is above 0, at most 1."""
    if isinstance(tokens, bool) or not isinstance(tokens, int | float) or not 0.0 < tokens <= 1.0:
        raise ConfigError([f"tokens: expected a number above 0 and at most 1, got {tokens!r}"])
    return float(tokens)


def stopping_settings(
    until: Mapping[str, Any] | StoppingSettings | None, metrics: Collection[str]
) -> StoppingSettings | None:
    """Return when to stop, from a mapping like ``capture.until`` of a config.

    Raises `ConfigError` for a mapping of another shape, and for a metric that is not scored.
    """
    from nodelens.config.options import structure_options
    from nodelens.config.schema import StoppingSettings

    if until is None:
        return None
    found: object = until
    if isinstance(until, Mapping):
        found = structure_options(StoppingSettings, until, "until")
    if not isinstance(found, StoppingSettings):
        example = "{'metric': 'taylor', 'top': 0.1, 'stable': 0.95}"
        raise ConfigError([f"until: expected a mapping such as {example}, got {until!r}"])
    if found.metric not in metrics:
        hint = did_you_mean(found.metric, metrics)
        raise ConfigError([f"until: {found.metric!r} is not one of the metrics{hint}"])
    return found


def check_forward(model: nn.Module, batch: Batch) -> None:
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


def peeked(batches: Iterable[Any]) -> tuple[Batch, Iterable[Any]]:
    """Return the first batch, and all batches: to be read again where they can be."""
    from nodelens.capture.batches import as_batch

    if not isinstance(batches, Iterable):
        raise DataError(f"batches must be an iterable of batches, got {type(batches).__name__}")
    iterator = iter(batches)
    for value in iterator:
        again = batches if iterator is not batches else chain([value], iterator)
        return as_batch(value), again
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
    from nodelens.capture.losses import logits_of

    with untouched(model), torch.no_grad():
        return int(logits_of(batch.call(model)).shape[-1])


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
