"""One plugin per pruning method; a method is imported when a config names it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from attrs import frozen

from nodelens.plugins.hookspecs import hookimpl
from nodelens.plugins.metric_index import metric_name
from nodelens.plugins.specs import PrunerSpec

_METHOD = re.compile(r'^class (\w+)Pruner:\n    """(.+)', re.MULTILINE)
_NAME = re.compile(r'^    name: ClassVar\[str\] = "(\w+)"', re.MULTILINE)


@frozen
class MethodPlugin:
    """Plugin of one pruning method of `nodelens_pruning.methods`."""

    spec: PrunerSpec

    @hookimpl
    def nodelens_register_pruners(self) -> list[PrunerSpec]:
        """Return the specification of the method."""
        return [self.spec]


@cache
def methods() -> dict[str, MethodPlugin]:
    """Return the plugin of each method by name, read from the source of the classes.

    ``MagnitudePruner`` is ``magnitude``, unless the class has a ``name``; the summary is the first
    line of the docstring.
    """
    text = Path(__file__).with_name("methods.py").read_text(encoding="utf-8")
    found = {}
    classes = list(_METHOD.finditer(text))
    for at, each in enumerate(classes):
        end = classes[at + 1].start() if at + 1 < len(classes) else len(text)
        given = _NAME.search(text, each.end(), end)
        name = given[1] if given else metric_name(each[1])
        spec = PrunerSpec(name, f"nodelens_pruning.methods:{each[1]}Pruner", each[2])
        found[name] = MethodPlugin(spec)
    return found


def __getattr__(name: str) -> MethodPlugin:
    """Return the plugin of a method, which an entry point names (PEP 562)."""
    if name not in methods():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return methods()[name]
