"""The classes of all statistics of the core, found in its modules."""

import inspect
from importlib import import_module
from pkgutil import iter_modules

import attrs

import nodelens.statistics


def statistics():
    for module in iter_modules(nodelens.statistics.__path__, "nodelens.statistics."):
        for _, found in inspect.getmembers(import_module(module.name), inspect.isclass):
            if found.__module__ == module.name and attrs.has(found) and hasattr(found, "update"):
                yield found
