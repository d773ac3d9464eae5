"""Changes to a model that can all be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from attrs import define, field
from torch import Tensor


@define(eq=False)
class Journal:
    """A record of performed changes that can undo each; old tensors are kept, not copied."""

    undo_steps: list[Callable[[], None]] = field(factory=list)

    @property
    def mark(self) -> int:
        """The number of changes so far, to be given to `undo`."""
        return len(self.undo_steps)

    def undo(self, mark: int = 0) -> None:
        """Undo every change since `mark`, the last one first."""
        while len(self.undo_steps) > mark:
            self.undo_steps.pop()()

    def set_data(self, tensor: Tensor, data: Tensor) -> None:
        """Give a parameter or buffer other data; the object, and every reference to it, is kept."""
        old = tensor.data
        self.undo_steps.append(lambda: _exchange(tensor, old))
        _exchange(tensor, data)

    def set_grad(self, tensor: Tensor, grad: Tensor | None) -> None:
        """Give a parameter another gradient."""
        old = tensor.grad
        self.undo_steps.append(lambda: setattr(tensor, "grad", old))
        tensor.grad = grad

    def set_attribute(self, holder: object, name: str, value: Any) -> None:
        """Set an attribute of any object."""
        old = getattr(holder, name)
        self.undo_steps.append(lambda: setattr(holder, name, old))
        setattr(holder, name, value)

    def set_item(self, mapping: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        """Set an entry that exists."""
        old = mapping[key]
        self.undo_steps.append(lambda: mapping.__setitem__(key, old))
        mapping[key] = value

    def add_item(self, mapping: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        """Set an entry where there is none; one that exists is left as it is."""
        if key not in mapping:
            self.undo_steps.append(lambda: mapping.pop(key))
            mapping[key] = value

    def remove_item(self, mapping: MutableMapping[Any, Any], key: Any) -> None:
        """Remove an entry; `undo` restores the very object."""
        old = mapping.pop(key)
        self.undo_steps.append(lambda: mapping.__setitem__(key, old))


@contextmanager
def undone_on_error(journal: Journal) -> Iterator[None]:
    """Undo all changes if the body of the context does not reach its end."""
    reached = False
    try:
        yield
        reached = True
    finally:
        if not reached:
            journal.undo()


def _exchange(tensor: Tensor, data: Tensor) -> None:
    """Assign ``tensor.data`` so that autograd forgets the old shape.

    A graph of an earlier forward that is still alive holds the node that accumulates this
    parameter's gradient, with the old shape. Torch renews that node only when the data type
    changes, so the tensor passes through another one.
    """
    if tensor.requires_grad and tensor.shape != data.shape:
        other = torch.float32 if tensor.dtype == torch.float64 else torch.float64
        tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data = data
