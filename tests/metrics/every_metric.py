"""Every metric that the distribution offers, through its entry points."""

from importlib import import_module

from nodelens.plugins.manager import load_plugins

OFFERS = [
    offer
    for offer in load_plugins().registry.match("metric")
    if offer.distribution == "nodelens-metrics"
]
SPECS = [offer.spec for offer in OFFERS]
REQUIRED = {
    "composite": {"parts": ("activation_rms", "weight_l2")},
    "conductance": {"steps": 3},  # of 20, for time
    "conductance_completeness": {"steps": 3},
    "internal_influence": {"steps": 3},
    "hessian_trace": {"probes": 1},  # of 8
    "obd": {"probes": 1},
}
"""Options that have to be given, and smaller ones where the defaults take long."""

BESIDE = {
    "rayleigh_quotient": [
        {"producer": "layer", "scale": scale} for scale in ("absolute", "trace", "largest")
    ],
    "kfac": [{"repair": "weights", "labels": "data"}],
    "eigen_share": [{"top": None}],
    "eigenspectrum_decay": [{"until": 1.0, "weighted": False}],
}
"""Settings of several options at once, beside those that the kit draws."""


def metric_class(target):
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def made(spec, **options):
    return metric_class(spec.target)(**{**REQUIRED.get(spec.name, {}), **options})
