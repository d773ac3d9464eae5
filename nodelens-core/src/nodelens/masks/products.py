"""The tensors that modules multiply with their own parameters, seen or replaced as they do so.

A module that uses a weight itself (`nn.MultiheadAttention`, stacked experts, ``x @ self.w``) has no
input that shows what the weight reads. A dispatch mode sees every operator instead, follows the
parameter through views, copies and selections of it, and knows it where it is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nodelens.channels.groups import Site
from nodelens.channels.rules.operation import VIEWS
from nodelens.channels.rules.provenance import LOOKUPS
from nodelens.errors import ModelError
from nodelens.masks.labels import Labels

# Positions of the two factors among the arguments.
MATRICES: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "_grouped_mm"), (0, 1)),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), (1, 2)),
}

# What may be done at a product: given the operand, its summed axis, and the parameter's indices
# along that axis, ``(indices,)`` or ``(batch, indices)``; return what is multiplied instead.
Act = Callable[[Tensor, int, Tensor], Tensor | None]


@frozen(eq=False)
class Watch:
    """A site with the ``operand`` end and what to do there."""

    site: Site
    act: Act


@define(eq=False)
class Known:
    """What is known of tensors while a watched module runs: weights, and entries of parameters."""

    watches: Sequence[tuple[Watch, Labels]]
    weights: dict[int, Any] = field(factory=dict)

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on parameters, buffers and constants alone."""
        return tensor.untyped_storage()._cdata in self.weights

    def follow(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Learn what an operator has returned."""
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
        labels: Labels,
        func: Any,
        args: Any,
        kwargs: Any,
        tensors: Sequence[Tensor],
        output: Tensor,
    ) -> None:
        """Note which entries of a parameter an operator has copied, selected or scaled."""
        known = [tensor for tensor in tensors if labels.knows(tensor)]
        if not known:
            return
        name, source = _name(func), known[0]
        if name in LOOKUPS and source is tensors[0]:
            picked = labels.everywhere(source).to(source.device)
            labels.note(output, func(picked, *args[1:], **kwargs).cpu())
        elif name in VIEWS and source is tensors[0] and source.numel() == output.numel():
            labels.note(output, labels.everywhere(source).reshape(output.shape))
        elif torch.Tag.pointwise in func.tags and all(
            self.is_weight(tensor) or labels.knows(tensor) for tensor in tensors
        ):
            labels.note(output, labels.everywhere(source).expand(output.shape))

    def multiplied(self, name: str, args: tuple[Any, ...], module: str) -> tuple[Any, ...]:
        """Act on the operands of a product with watched parameters; return its arguments."""
        for data, weight in _factors(name):
            for watch, labels in self.watches:
                tensor, operand = args[weight], args[data]
                if (
                    watch.site.module == module
                    and labels.knows(tensor)
                    and self._reads(tensor, operand)
                ):
                    args = _acted(watch, labels, name, args, data, weight)
        return args

    def _reads(self, weight: Tensor, operand: Tensor) -> bool:
        """Whether one is a weight to the other; chosen entries are, to data that is not chosen."""
        if self.is_weight(weight):
            return not self.is_weight(operand)
        chosen = any(labels.knows(operand) for _, labels in self.watches)
        return not self.is_weight(operand) and not chosen


def _name(func: Any) -> str:
    return str(func._schema.name).removeprefix("aten::").rstrip("_")


def _factors(name: str) -> Iterator[tuple[int, int]]:
    """Yield the positions of operand and weight, either way round where both are possible."""
    if name == "convolution":
        yield 0, 1
    elif name in MATRICES:
        left, right = MATRICES[name]
        yield left, right
        if name != "_grouped_mm":
            yield right, left


def _acted(
    watch: Watch, labels: Labels, name: str, args: tuple[Any, ...], data: int, weight: int
) -> tuple[Any, ...]:
    operand, axis = args[data], 1
    if name == "convolution":
        indices = _convolved(labels, args)
    else:
        axis, indices = _summed(labels, operand, args[weight], data < weight)
    if indices is None or bool((indices == indices.flatten()[0]).all()):
        return args
    changed = watch.act(operand, axis, indices)
    return args if changed is None else (*args[:data], changed, *args[data + 1 :])


def _summed(
    labels: Labels, operand: Tensor, weight: Tensor, is_left: bool
) -> tuple[int, Tensor | None]:
    """Return the operand's summed axis and the parameter's indices along it.

    None where the parameter's axis is not summed over.
    """
    axis = operand.ndim - 1 if is_left else max(operand.ndim - 2, 0)
    inner = max(weight.ndim - 2, 0) if is_left else weight.ndim - 1
    dims = (0, inner) if weight.ndim == 3 else (inner,)
    indices = labels.along(weight, dims)
    if not torch.equal(indices, labels.along(weight, dims, last=True)):
        return axis, None
    if weight.ndim == 3 and bool((indices == indices[:1]).all()):
        return axis, indices[0]
    return axis, indices if operand.ndim == 3 or weight.ndim < 3 else None


def _convolved(labels: Labels, args: tuple[Any, ...]) -> Tensor | None:
    """Return the parameter's indices along the channels that a convolution reads."""
    weight, transposed, groups = args[1], bool(args[6]), int(args[8])
    if transposed:
        return labels.along(weight, (0,))
    indices = labels.along(weight, (0, 1)).view(groups, -1, weight.shape[1])
    return indices[:, 0].flatten() if bool((indices == indices[:, :1]).all()) else None


class ProductMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Performs every operator; acts on the operands of products inside `stack`'s last module."""

    def __init__(self, known: Known, stack: Sequence[str]) -> None:
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
        """Perform one operator."""
        kwargs = kwargs or {}
        args = self.known.multiplied(_name(func), args, self.stack[-1])
        result = func(*args, **kwargs)
        self.known.follow(func, args, kwargs, result)
        return result


def known_in(model: nn.Module, watches: Sequence[Watch]) -> Known:
    """Return what is known before a watched module runs: where the parameters are in memory.

    Raises `ModelError` where the model does not have a watched parameter.
    """
    tensors = {
        **dict(model.named_buffers(remove_duplicate=False)),
        **dict(model.named_parameters(remove_duplicate=False)),
    }
    labels: dict[tuple[str, int], Labels] = {}
    for watch in watches:
        name, axis = str(watch.site.argument), watch.site.along
        if name not in tensors:
            raise ModelError(f"{watch.site.name}: the model has no parameter {name}")
        labels.setdefault((name, axis), Labels(tensors[name], axis))
    storages = [tensor.untyped_storage() for tensor in tensors.values()]
    return Known(
        [(watch, labels[str(watch.site.argument), watch.site.along]) for watch in watches],
        {storage._cdata: storage for storage in storages},
    )
