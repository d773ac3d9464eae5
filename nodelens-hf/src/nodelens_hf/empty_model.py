"""Models built from a configuration, and their differences from a pruned model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_PLAIN = (bool, int, float, str, type(None))
_BOOKKEEPING = frozenset(
    {
        *("training", "_is_hf_initialized", "_is_full_backward_hook", "use_cache"),
        *("name_or_path", "_name_or_path", "transformers_version"),
        *("is_quantized", "quantization_method", "_weight_conversions", "_use_kernels"),
        "shift_size",  # every forward of Swin sets it by the size of its images
    }
)
"""Attributes of a model's origin or of how it is run, not of what it computes."""


@frozen(eq=False)
class Difference:
    """Changes that turn a model built from a configuration into the pruned model.

    `attributes` are values by module and name; `shapes` the parameters and saved buffers of another
    shape; `buffers` those that are computed from the configuration, not saved, and differ.
    `configs` are the fields of configurations that single modules have for themselves, by module.
    """

    attributes: dict[str, dict[str, Any]]
    shapes: dict[str, list[int]]
    buffers: dict[str, Tensor]
    configs: dict[str, dict[str, Any]]

    def __bool__(self) -> bool:
        return bool(self.attributes or self.shapes or self.buffers or self.configs)

    def first(self) -> str:
        """Return one of the changes in words."""
        for name, shape in self.shapes.items():
            return f"{name} has the shape {'×'.join(map(str, shape))}"
        for path, values in (*self.attributes.items(), *self.configs.items()):
            name, value = next(iter(values.items()))
            return f"{path}.{name} is {value}".removeprefix(".")
        return f"{next(iter(self.buffers))} has other values"


def empty_model(kind: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    """Return the model that a configuration builds, its weights not yet initialised."""
    from transformers.initialization import no_init_weights

    with no_init_weights(), torch.random.fork_rng(devices=[]):
        make: Any = kind._from_config
        built: PreTrainedModel = make(copy.deepcopy(config))
    built.train(False)
    return built


def difference(
    built: nn.Module, model: nn.Module, named: frozenset[str] = frozenset()
) -> Difference:
    """Return how `model` differs from the model of a configuration, with equal modules.

    Fields of modules' configurations that are `named` are no difference: the configuration says
    there what the model's own one left to be derived.
    """
    modules = dict(built.named_modules())
    attributes: dict[str, dict[str, Any]] = {}
    for path, module in model.named_modules():
        theirs = plain_attributes(modules[path])
        changed = {
            name: value
            for name, value in plain_attributes(module).items()
            if name not in theirs or theirs[name] != value
        }
        if changed:
            attributes[path] = changed
    ours, made = model.state_dict(), built.state_dict()
    shapes = {name: list(t.shape) for name, t in ours.items() if t.shape != made[name].shape}
    unsaved = dict(built.named_buffers())
    buffers = {
        name: buffer.detach().clone()
        for name, buffer in model.named_buffers()
        if name not in ours and not _same(buffer, unsaved.get(name))
    }
    return Difference(attributes, shapes, buffers, _own_configs(modules, model, named))


def _own_configs(
    modules: dict[str, nn.Module], model: nn.Module, named: frozenset[str]
) -> dict[str, dict[str, Any]]:
    """Return the fields in which configurations of modules differ from the built ones."""
    found: dict[str, dict[str, Any]] = {}
    for path, module in model.named_modules():
        ours, theirs = (getattr(each, "config", None) for each in (module, modules[path]))
        if ours is not None and theirs is not None:
            built = plain_attributes(theirs)
            fields = plain_attributes(ours)
            changed = {n: v for n, v in fields.items() if n not in named and built.get(n) != v}
            if changed:
                found[path] = changed
    return found


def plain_attributes(module: object) -> dict[str, Any]:
    """Return an object's own numbers and texts, and lists of them, by name."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(module).items()
        if name not in _BOOKKEEPING and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, _PLAIN) for each in value)
    return isinstance(value, _PLAIN)


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.equal(one.cpu(), other.cpu())


def apply(built: nn.Module, changes: Difference) -> None:
    """Give a model the attributes of the pruned one, and room for its weights, in place."""
    for path, values in changes.attributes.items():
        module = built.get_submodule(path)
        for name, value in values.items():
            kept = getattr(module, name, None)
            setattr(module, name, tuple(value) if isinstance(kept, tuple) else value)
    for path, values in changes.configs.items():
        module = built.get_submodule(path)
        own: Any = copy.deepcopy(module.config)
        for name, value in values.items():
            setattr(own, name, value)
        module.config = own
    resized: dict[int, nn.Parameter] = {}
    for name, shape in changes.shapes.items():
        path, _, leaf = name.rpartition(".")
        module = built.get_submodule(path)
        old = getattr(module, leaf)
        if isinstance(old, nn.Parameter):
            fresh = resized.setdefault(
                id(old), nn.Parameter(old.new_empty(shape), requires_grad=True)
            )
            setattr(module, leaf, fresh)
        else:
            setattr(module, leaf, old.new_empty(shape))
    for name, buffer in changes.buffers.items():
        path, _, leaf = name.rpartition(".")
        setattr(built.get_submodule(path), leaf, buffer.clone())
