"""Every metric that the distribution offers, through its entry points."""

from importlib import import_module

import attrs

from nodelens.plugins.manager import load_plugins
from nodelens.testing.variants import required_options

OFFERS = [
    offer
    for offer in load_plugins().registry.match("metric")
    if offer.distribution == "nodelens-metrics"
]
SPECS = [offer.spec for offer in OFFERS]
QUICK = {"steps": 3, "probes": 1}
"""Smaller values of the options whose defaults take long, for every metric that has them."""


def metric_class(target):
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def base_options(spec):
    """Return the options that have to be given, and smaller ones where the defaults take long."""
    kind = metric_class(spec.target)
    known = {entry.name for entry in attrs.fields(kind)}
    return required_options(kind) | {name: QUICK[name] for name in QUICK if name in known}


def made(spec, **options):
    return metric_class(spec.target)(**{**base_options(spec), **options})
