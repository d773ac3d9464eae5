"""What modules hold in plain attributes: containers, and tensors that are no parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from attrs import frozen
from torch import Tensor, nn

_VALUES = (str, int, float, type(None), Tensor, nn.Module)

# What objects of these packages hold is their own business.
_FOREIGN = frozenset(
    ["builtins", "collections", "functools", "logging", "numpy", "torch", "types", "typing"]
)


@frozen(eq=False)
class HeldTensor:
    """A tensor that a model holds outside its parameters and buffers, such as a cache.

    `holder` maps `key` to the tensor, or to a list, tuple or set of tensors. `place` are words.
    """

    holder: MutableMapping[Any, Any]
    key: Any
    place: str
    tensors: tuple[Tensor, ...]


def containers(model: nn.Module) -> list[Any]:
    """Return the attributes of every module, and every container that these hold, each once."""
    found: dict[int, Any] = {}
    for module in model.modules():
        for _, each in _inside("", vars(module), found):
            found[id(each)] = each
    return list(found.values())


def held_tensors(model: nn.Module) -> list[HeldTensor]:
    """Return the tensors in plain attributes, and in mappings among these, each holder once."""
    registered = {id(each) for each in (*model.parameters(), *model.buffers())}
    found: dict[int, Any] = {}
    held: list[HeldTensor] = []
    for path, module in model.named_modules():
        for place, each in _inside(path, vars(module), found):
            found[id(each)] = each
            for key, value in each.items() if isinstance(each, dict) else ():
                inside = tuple(x for x in tensors_in(value) if id(x) not in registered)
                if inside:
                    held.append(HeldTensor(each, key, f"{place}.{key}".lstrip("."), inside))
    return held


def _inside(
    place: str, value: Any, known: dict[int, Any], depth: int = 2
) -> Iterator[tuple[str, Any]]:
    """Yield the mutable containers inside a value with their places, itself first.

    `depth` is the number of objects that may hold each other on the way.
    """
    if id(value) in known:
        return
    if isinstance(value, dict | list | set):
        yield place, value
    named: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list | tuple | set | frozenset):
        named = enumerate(value)
    for key, each in list(named):
        if isinstance(each, dict | list | tuple | set | frozenset):
            yield from _inside(f"{place}.{key}", each, known, depth)
        elif depth and not isinstance(each, _VALUES) and _has_state(each):
            yield from _inside(f"{place}.{key}", vars(each), known, depth - 1)


def _has_state(value: Any) -> bool:
    """Whether a value is an object with attributes of its own, and no class or function."""
    foreign = type(value).__module__.partition(".")[0] in _FOREIGN
    return not foreign and isinstance(getattr(value, "__dict__", None), dict)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors that a value is made of; mappings are containers of their own."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from tensors_in(each)
