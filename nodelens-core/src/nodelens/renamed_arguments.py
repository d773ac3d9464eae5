"""Arguments that were called something else: an earlier name gets an error with the present one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from nodelens.errors import ConfigError

_Callable = TypeVar("_Callable", bound=Callable[..., Any])
_NAMES = "__renamed_arguments__"


def renamed_arguments(**present: str) -> Callable[[_Callable], _Callable]:
    """Return a decorator of a function or class whose arguments have other names than before.

    A call with an earlier name raises `ConfigError` with the present one. The check of a config
    answers an earlier key of a decorated class likewise.

    Args:
        present: the present name of each argument, by its earlier name.

    Returns:
        The decorator; of an attrs class the outermost.

    Example:
        ::

            @renamed_arguments(until="stop_when")
            def score(model, batches, metrics, stop_when=None): ...
    """

    def decorate(decorated: _Callable) -> _Callable:
        made: Any = decorated  # Any: mypy takes the `__init__` of a class for fixed
        if isinstance(decorated, type):
            made.__init__ = _checked(made.__init__, made.__name__, present)
            setattr(made, _NAMES, present)
        else:
            made = _checked(made, made.__name__, present)
        return cast(_Callable, made)

    return decorate


def refuse_earlier_names(called: str, given: Iterable[str], present: Mapping[str, str]) -> None:
    """Raise `ConfigError` where names of given arguments are earlier ones, with the present ones.

    For functions that pass further arguments on to a model.
    """
    found = [f"{called}: {old} is called {present[old]} now" for old in given if old in present]
    if found:
        raise ConfigError(found)


def earlier_names(cls: type) -> Mapping[str, str]:
    """Return the present name of each renamed argument of a class, by its earlier name."""
    names: Mapping[str, str] = vars(cls).get(_NAMES, {})
    return names


def _checked(function: Any, called: str, present: Mapping[str, str]) -> Any:
    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        refuse_earlier_names(called, kwargs, present)
        return function(*args, **kwargs)

    return checked
