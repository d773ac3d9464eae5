"""Labels of tensor entries: the index along a parameter's axis that each comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from nodelens.errors import ModelError


@define(eq=False)
class EntryLabels:
    """Labels of the entries of one parameter: their index along one of its axes.

    Views of the parameter are known by their memory. Tensors with memory of their own, such as the
    entries of chosen experts, are known once `note` has recorded their labels.
    """

    parameter: Tensor
    axis: int
    copies: dict[int, tuple[Any, Tensor]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        inside = 1
        for stride, size in sorted(zip(self.parameter.stride(), self.parameter.shape, strict=True)):
            if size > 1 and stride != inside:
                raise ModelError(
                    f"a parameter of shape {tuple(self.parameter.shape)} does not fill its memory, "
                    "so that its entries cannot be distinguished; make it contiguous"
                )
            inside *= size

    def knows(self, tensor: Tensor) -> bool:
        """Whether the tensor holds entries of the parameter only."""
        return self._is_view(tensor) or tensor.untyped_storage()._cdata in self.copies

    def _is_view(self, tensor: Tensor) -> bool:
        start = tensor.storage_offset() - self.parameter.storage_offset()
        same = tensor.untyped_storage()._cdata == self.parameter.untyped_storage()._cdata
        return same and 0 <= start < self.parameter.numel()

    def along(self, tensor: Tensor, dims: Sequence[int], last: bool = False) -> Tensor:
        """Return the index of the entries along `dims`, first (or last) along all other axes."""
        offsets = torch.tensor(tensor.storage_offset())
        for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
            if dim in dims:
                offsets = offsets.unsqueeze(-1) + torch.arange(size) * stride
            elif last:
                offsets = offsets + (size - 1) * stride
        if self._is_view(tensor):
            inside = offsets - int(self.parameter.storage_offset())
            size, stride = self.parameter.shape[self.axis], self.parameter.stride(self.axis)
            return inside // stride % size
        return self.copies[tensor.untyped_storage()._cdata][1][offsets].long()

    def everywhere(self, tensor: Tensor) -> Tensor:
        """Return the index of every entry, in the shape of the tensor."""
        return self.along(tensor, range(tensor.ndim))

    def note(self, tensor: Tensor, labels: Tensor) -> None:
        """Record the labels of a tensor with memory of its own."""
        storage = tensor.untyped_storage()
        flat = torch.zeros(len(storage) // tensor.element_size(), dtype=torch.int32)
        where = (tensor.shape, tensor.stride(), tensor.storage_offset())
        flat.as_strided(*where).copy_(labels)
        self.copies[storage._cdata] = (storage, flat)
