"""The first stages: device, data, model, channel groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from nodelens.channels.groups import ChannelGraph
from nodelens.data.class_names import renumbered
from nodelens.data.splits import Splits, batches, calibration, split
from nodelens.errors import ConfigError, DataError, ModelError
from nodelens.graph import infer
from nodelens.interfaces.backend import ModelHandle, ModelRequest, Permissions
from nodelens.interfaces.loss import RowLoss
from nodelens.losses.choice import CROSS_ENTROPY, named_target, resolved
from nodelens.seeding import derive_seed

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.config.schema import Component, RunConfig
    from nodelens.interfaces.dataset import Samples
    from nodelens.plugins.manager import Plugins
    from nodelens.plugins.registry import Registry


@frozen(eq=False)
class StudyInputs:
    """The inputs of all stages: the data, the model, and its channel groups.

    `predicts` says that the model has logits, so that labels give a loss. `loss` is the loss of the
    run, and `target` what nodes are scored for in its place, if anything.
    """

    splits: Splits
    calibration: Samples
    handle: ModelHandle
    graph: ChannelGraph
    predicts: bool = True
    loss: RowLoss = CROSS_ENTROPY
    target: RowLoss | None = None


def choose_device(name: str) -> torch.device:
    """Return the named device; ``auto`` is CUDA when there is one, else the CPU.

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


def load_study(
    config: RunConfig, plugins: Plugins, device: torch.device, allowed: Permissions | None = None
) -> StudyInputs:
    """Load the data, build the model on `device` and infer its channel groups.

    Where the model names its outputs, they decide the numbers of the classes.
    """
    dataset: Any = plugins.registry.build("dataset", config.data.component)
    backend: Any = plugins.registry.build("backend", config.model)
    if hasattr(backend, "check"):
        backend.check(dataset, [each.name for each in config.evaluations])
    data = dataset.load()
    splits = split(data, config.data, config.seed)
    allowed = allowed or Permissions()
    request = ModelRequest(
        input_shape=tuple(splits.train.inputs.shape[1:]),
        classes=outputs_of(splits),
        seed=derive_seed(config.seed, "model"),
        allow_import=allowed.imports,
        trust_remote_code=allowed.remote_code,
        class_names=splits.classes,
    )
    handle: ModelHandle = backend.build(request)
    if handle.classes is not None:
        splits = renumbered(splits, handle.classes, handle.origin)
    if not handle.placed:
        handle.module.to(device)
    _check_tokens(handle, splits)
    _check_order(config, handle, splits)
    loss, target = chosen_losses(config, plugins.registry, allowed, handle, splits)
    example = example_of(splits, device)
    predicts = _check_forward(handle, example, splits, loss)
    if predicts and not splits.train.labelled:
        raise DataError(
            f"{handle.origin} makes predictions, and the data have no labels; give labels (another "
            "data.objective), or take a model without predictions, such as an encoder"
        )
    chosen = calibration(splits.train, config.capture, config.seed)
    if not len(splits.test):
        raise DataError(
            "there are no test samples to evaluate on: data.test_fraction is 0 and the dataset "
            "brings none; set data.test_fraction above 0"
        )
    operators = plugins.operators()
    graph = infer(handle.module, *example.args, operators=operators, **example.kwargs)
    return StudyInputs(splits, chosen, handle, graph, predicts, loss, target)


def _check_order(config: RunConfig, handle: ModelHandle, splits: Splits) -> None:
    """Raise `DataError` for classes in the order of the alphabet where the model has its own."""
    if splits.ordered or config.training is not None or handle.classes is not None:
        return
    if handle.pretrained:
        raise DataError(
            f"the labels of the data are text, and nothing says which output of {handle.origin} is "
            "which; set data.class_names: […], in the order of its outputs"
        )


def chosen_losses(
    config: RunConfig,
    registry: Registry,
    allowed: Permissions,
    handle: ModelHandle,
    splits: Splits,
) -> tuple[RowLoss, RowLoss | None]:
    """Return the loss of the run, and what nodes are scored for in its place, if anything.

    Raises `ConfigError` for a target by the name of an unknown class, `ModelError` for code that
    is not allowed, `DataError` for a loss that does not fit the labels of the data.
    """
    asked, target = (
        _built_loss(registry, each, allowed, handle.classes or splits.classes)
        for each in (config.loss, config.target)
    )
    loss = resolved(asked, handle.loss)
    if splits.train.numbers and loss.distribution == "classes":
        raise DataError(
            "the targets of the data are numbers, and the loss is one of classes; set loss: mse "
            "for numbers, loss: bce for several labels of 0 and 1"
        )
    return loss, target


def _built_loss(
    registry: Registry,
    component: Component | None,
    allowed: Permissions,
    names: Sequence[str],
) -> RowLoss | None:
    if component is None:
        return None
    built: Any = registry.build("loss", component)
    if hasattr(built, "check"):
        built.check(allowed)
    return named_target(RowLoss(built, component.result_name), names)


def outputs_of(splits: Splits) -> int:
    """Return the number of outputs that the data ask for: of classes, or of numbers per sample."""
    if splits.train.numbers:
        return splits.train.targets[0].numel()
    return len(splits.classes)


def _check_tokens(handle: ModelHandle, splits: Splits) -> None:
    """Raise `DataError` for token ids without an embedding in the model, and for long rows."""
    if splits.train.inputs.is_floating_point():
        return
    parts = (splits.train, splits.validation, splits.test)
    longest = max(part.inputs.shape[1] for part in parts)
    if handle.positions is not None and longest > handle.positions:
        raise DataError(
            f"data.window: rows of {longest} tokens are longer than the {handle.positions} "
            f"positions of {handle.origin}; set data.window: {handle.positions} or less"
        )
    read = [each for part in parts for each in (part.inputs, part.fields.get("labels"))]
    largest = max(int(each.max()) for each in read if each is not None and len(each))
    if handle.vocabulary is not None and largest >= handle.vocabulary:
        raise DataError(
            f"the data hold token {largest} and {handle.origin} has {handle.vocabulary} tokens; "
            "use the tokenizer that belongs to the model"
        )


def example_of(splits: Splits, device: torch.device) -> Batch:
    """Return two training samples as a batch, to trace and to check the model with."""
    return batches(splits.train.take(slice(0, 2)), 2)[0].to(device)


def _check_forward(handle: ModelHandle, example: Batch, splits: Splits, loss: RowLoss) -> bool:
    """Run the model once, so that a model that does not fit the data gets a readable error.

    Returns whether its output has logits; where it has not, it must have vectors to compare.
    """
    from nodelens.capture.engine import untouched
    from nodelens.capture.losses import has_logits, logits_of
    from nodelens.training.references import vectors_of

    try:
        with untouched(handle.module), torch.no_grad():
            output = example.call(handle.module)
    except ModelError as error:
        shape = tuple(example.args[0].shape[1:])
        reason = str(error).partition(": ")[2].partition(": ")[2] or str(error)
        raise ModelError(
            f"{handle.origin} does not run on samples of shape {shape}: {reason}; "
            "change the model's options or the data's"
        ) from error
    if not has_logits(output):
        vectors_of(output)
        return False
    classes = len(splits.classes)
    if not classes or loss.distribution != "classes":
        return True
    outputs = logits_of(output, example.targets).shape[-1]
    if outputs < classes:
        raise ModelError(f"{handle.origin} gives {outputs} outputs for data with {classes} classes")
    return True
