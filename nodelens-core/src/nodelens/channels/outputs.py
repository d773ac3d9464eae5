"""The tensors in the output of a model, whatever its type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def output_tensors(output: Any, nested: bool = False) -> Iterator[Tensor]:
    """Yield the tensors of tensors, sequences, mappings and objects with tensors in attributes.

    Objects are not followed into other objects: a cache of keys and values, which holds layers
    that hold tensors, is the memory of the model and not its output.
    """
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from output_tensors(value, nested)
    elif isinstance(output, list | tuple | set | frozenset):
        for value in output:
            yield from output_tensors(value, nested)
    elif hasattr(output, "__dict__") and not nested:
        yield from output_tensors(vars(output), nested=True)
    elif hasattr(output, "__slots__") and not nested:
        for name in output.__slots__:
            yield from output_tensors(getattr(output, name, None), nested=True)
