"""What is read from the sources is what the modules hold, and listing imports no metric."""

import inspect
import json
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from tests.metrics.every_metric import OFFERS, SPECS

import nodelens_metrics
from nodelens.interfaces.metric import MetricInfo
from nodelens.plugins.metric_index import metric_name
from nodelens.plugins.specs import MetricSpec

ROOT = Path(__file__).parents[2]


def imported():
    """Return a specification of every metric class, found by importing all modules."""
    for module in pkgutil.walk_packages(nodelens_metrics.__path__, "nodelens_metrics."):
        for name, kind in inspect.getmembers(import_module(module.name), inspect.isclass):
            info = getattr(kind, "info", None)
            if kind.__module__ == module.name and isinstance(info, MetricInfo):
                target, family = f"{module.name}:{name}", module.name.split(".")[-2]
                first = kind.__doc__.splitlines()[0]
                yield MetricSpec(info.name or metric_name(name), target, first, family)


def test_the_index_is_what_importing_gives():
    assert sorted(SPECS, key=str) == sorted(imported(), key=str)


def test_names_are_unique_across_the_families():
    assert len({spec.name for spec in SPECS}) == len({spec.target for spec in SPECS}) == len(SPECS)


def test_every_family_has_an_entry_point_of_its_name():
    assert {offer.plugin for offer in OFFERS} == {
        f"nodelens-metrics:{spec.family}" for spec in SPECS
    }


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_summary_is_one_short_sentence_that_stands_alone(spec):
    assert len(spec.summary) <= 90
    assert spec.summary.endswith(".")
    words = {word.strip(".,;:").lower() for word in spec.summary.split()}
    assert not words & {"it", "those"}
    assert "the same" not in spec.summary


COMMANDS = {
    "metrics": ["metrics"],
    "plugins": ["plugins"],
    "config check": ["config", "check", "configs/minimal.yaml"],
}
NAMED = {"config check": {"activations.activity", "gradients.first_order", "weights.norms"}}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_no_metric_that_is_not_named(command):
    code = (
        "import json, sys; from nodelens.cli.main import main; "
        "exec('try: main(sys.argv[1:])\\nexcept SystemExit: pass'); "
        "print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *COMMANDS[command]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    ours = {name.partition(".")[2] for name in modules if name.startswith("nodelens_metrics.")}
    light = {spec.family for spec in SPECS} | {f"{spec.family}.plugin" for spec in SPECS}
    metrics = {spec.target.partition(":")[0].partition(".")[2] for spec in SPECS}
    assert light <= ours
    assert ours & metrics <= NAMED.get(command, set())
