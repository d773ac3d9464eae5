"""Operands of products that modules take with their own parameters, read or replaced there.

A module that uses a weight itself (`nn.MultiheadAttention`, stacked experts, ``x @ self.w``) has no
input that shows the weight's operand. A dispatch mode intercepts every operator instead, follows
the parameter through views, copies and selections, and finds it where it is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nodelens.channels.groups import Site
from nodelens.errors import ModelError
from nodelens.interfaces.operator import Operand, Operators, row_of
from nodelens.masks.entry_labels import EntryLabels

# What may be done at a product: given the operand, its summed axis, and the parameter's indices
# along that axis, ``(indices,)`` or ``(batch, indices)``; return what is multiplied instead.
Act = Callable[[Tensor, int, Tensor], Tensor | None]


@frozen(eq=False)
class Watch:
    """A site with the ``operand`` end, and the function to call at its products."""

    site: Site
    act: Act


@define(eq=False)
class KnownTensors:
    """Tensors identified while a watched module runs: weights, and entries of parameters."""

    watches: Sequence[tuple[Watch, EntryLabels]]
    operators: Operators
    weights: dict[int, Any] = field(factory=dict)

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on parameters, buffers and constants alone."""
        return tensor.untyped_storage()._cdata in self.weights

    def follow(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Identify the tensors that an operator has returned."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for storage in (output.untyped_storage() for output in outputs):
            if all(self.is_weight(tensor) for tensor in tensors):
                self.weights.setdefault(storage._cdata, storage)
            elif func._schema.is_mutable:
                self.weights.pop(storage._cdata, None)
        for labels in dict.fromkeys(labels for _, labels in self.watches):
            if len(outputs) == 1 and not labels.knows(outputs[0]):
                self._label(labels, func, args, kwargs, tensors, outputs[0])

    def _label(
        self,
        labels: EntryLabels,
        func: Any,
        args: Any,
        kwargs: Any,
        tensors: Sequence[Tensor],
        output: Tensor,
    ) -> None:
        """Record which entries of a parameter an operator has copied, selected or scaled."""
        known = [tensor for tensor in tensors if labels.knows(tensor)]
        if not known:
            return
        row, source = row_of(self.operators, func), known[0]
        entries = row.entries if row is not None and source is tensors[0] else None
        if entries in ("picked", "moved"):
            picked = labels.everywhere(source).to(source.device)
            labels.note(output, func(picked, *args[1:], **kwargs).cpu())
        elif entries == "same" and source.numel() == output.numel():
            labels.note(output, labels.everywhere(source).reshape(output.shape))
        elif torch.Tag.pointwise in func.tags and all(
            self.is_weight(tensor) or labels.knows(tensor) for tensor in tensors
        ):
            labels.note(output, labels.everywhere(source).expand(output.shape))

    def multiplied(self, func: Any, args: tuple[Any, ...], module: str) -> tuple[Any, ...]:
        """Act on the operands of a product with watched parameters; return the arguments."""
        row = row_of(self.operators, func)
        for operand in row.operands if row else ():
            for watch, labels in self.watches:
                weight, data = args[operand.weight], args[operand.argument]
                if (
                    watch.site.module == module
                    and labels.knows(weight)
                    and self._reads(weight, data)
                ):
                    args = _acted(watch, labels, operand, args)
        return args

    def _reads(self, weight: Tensor, operand: Tensor) -> bool:
        """Whether `weight` is a weight to `operand`; chosen entries are one to other data."""
        if self.is_weight(weight):
            return not self.is_weight(operand)
        chosen = any(labels.knows(operand) for _, labels in self.watches)
        return not self.is_weight(operand) and not chosen


def _acted(
    watch: Watch, labels: EntryLabels, operand: Operand, args: tuple[Any, ...]
) -> tuple[Any, ...]:
    data = args[operand.argument]
    if operand.indices is not None:
        indices = operand.indices(labels.along, args)
    else:
        indices = _summed(labels, operand, data, args[operand.weight])
    if indices is None or bool((indices == indices.flatten()[0]).all()):
        return args
    changed = watch.act(data, operand.axis % data.ndim, indices)
    return args if changed is None else _replaced(args, operand.argument, changed)


def _replaced(args: tuple[Any, ...], position: int, changed: Tensor) -> tuple[Any, ...]:
    return (*args[:position], changed, *args[position + 1 :])


def _summed(labels: EntryLabels, operand: Operand, data: Tensor, weight: Tensor) -> Tensor | None:
    """Return the parameter's indices along the axis that is summed over.

    None where the parameter's axis is not summed over.
    """
    inner = operand.weight_axis % weight.ndim
    dims = (0, inner) if weight.ndim == 3 and inner else (inner,)
    indices = labels.along(weight, dims)
    if not torch.equal(indices, labels.along(weight, dims, last=True)):
        return None
    if len(dims) == 2 and bool((indices == indices[:1]).all()):
        return indices[0]
    return indices if data.ndim == 3 or len(dims) == 1 else None


class ProductMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that acts on operands of products inside the last module of `stack`."""

    def __init__(self, known: KnownTensors, stack: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = known
        self.stack = stack

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        args = self.known.multiplied(func, args, self.stack[-1])
        result = func(*args, **kwargs)
        self.known.follow(func, args, kwargs, result)
        return result


def known_in(model: nn.Module, watches: Sequence[Watch], operators: Operators) -> KnownTensors:
    """Return the tensors known before a watched module runs: parameters by their memory.

    Raises `ModelError` where the model does not have a watched parameter.
    """
    tensors = {
        **dict(model.named_buffers(remove_duplicate=False)),
        **dict(model.named_parameters(remove_duplicate=False)),
    }
    labels: dict[tuple[str, int], EntryLabels] = {}
    for watch in watches:
        name, axis = str(watch.site.argument), watch.site.along
        if name not in tensors:
            raise ModelError(f"{watch.site.name}: the model has no parameter {name}")
        labels.setdefault((name, axis), EntryLabels(tensors[name], axis))
    storages = [tensor.untyped_storage() for tensor in tensors.values()]
    return KnownTensors(
        [(watch, labels[str(watch.site.argument), watch.site.along]) for watch in watches],
        operators,
        {storage._cdata: storage for storage in storages},
    )
