"""Statistics as JSON values and back: the class and the options, never code.

Read by hand: the class of a statistic, also inside another one, is in the file and in no type.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from attrs import asdict, has

from nodelens.errors import RunError

_OWN = "nodelens.statistics."
_METHODS = ("start", "merge", "summary")


def spec_of(statistic: Any) -> dict[str, Any]:
    """Return a statistic's class and options as JSON values."""
    cls = type(statistic)
    options = asdict(statistic, recurse=False)
    return {
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "options": {name: _plain(value) for name, value in options.items()},
    }


def _plain(value: Any) -> Any:
    if has(type(value)):
        return spec_of(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def statistic_of(spec: Mapping[str, Any]) -> Any | None:
    """Return the statistic of a specification; None if its class is not imported.

    A name in a file imports the core's own statistics only; a plugin's are imported with the metric
    that needs them. Raises `RunError` for options that the class does not take.
    """
    module, _, name = str(spec.get("class")).partition(":")
    if module.startswith(_OWN):
        with suppress(ModuleNotFoundError):
            import_module(module)
    cls = getattr(sys.modules.get(module), name, None)
    if cls is None or not has(cls) or not all(hasattr(cls, method) for method in _METHODS):
        return None
    try:
        return cls(**{key: _value(value) for key, value in spec["options"].items()})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise RunError(
            f"the statistic {name} does not take the options it was stored with ({error}); "
            "use the version that wrote it"
        ) from error


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    if isinstance(value, dict) and value.keys() == {"class", "options"}:
        return statistic_of(value)
    return value
