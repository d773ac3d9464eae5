"""What a plugin asks for by name is its own distribution's; the check finds what a run would."""

from __future__ import annotations

import pytest

from nodelens.config.check import check_config
from nodelens.config.load import raw_from_mapping
from nodelens.errors import ConfigError, NodelensError
from nodelens.experiments.run_components import choose_metrics
from nodelens.plugins.manager import load_plugins

TAYLOR = '''
from attrs import frozen
from nodelens.interfaces.metric import MetricInfo
from nodelens.interfaces.pruner import PruningPlan
from nodelens.plugins.specs import MetricSpec, PrunerSpec
from nodelens.weights.rows import Rows


@frozen
class Taylor:
    """A metric of a name that another distribution has too."""

    info = MetricInfo(formula="x", unit="1", higher_is_better=True)
    statistics = ()
    weights = (Rows("producer"),)

    def score(self, group):
        return group[Rows("producer")].matrix.sum(1)


@frozen
class Composed(Taylor):
    """Is made of the metric of its own distribution."""

    depends_on = ("taylor",)


@frozen
class Pruner:
    """Ranks by the metric of its own distribution."""

    def metrics(self):
        return ("taylor",)

    def plan(self, request):
        return PruningPlan({})


@frozen
class Broken(Pruner):
    """Cannot say what it ranks by."""

    def metrics(self):
        raise ZeroDivisionError("far")


@frozen
class Nothing(Pruner):
    """Says nothing."""

    def metrics(self):
        return None


@hookimpl
def nodelens_register_metrics():
    return [
        MetricSpec("taylor", f"{__name__}:Taylor", "Another one."),
        MetricSpec("composed", f"{__name__}:Composed", "Made of it."),
    ]


@hookimpl
def nodelens_register_pruners():
    return [
        PrunerSpec("mine", f"{__name__}:Pruner", "By its own."),
        PrunerSpec("broken", f"{__name__}:Broken", "Breaks."),
        PrunerSpec("nothing", f"{__name__}:Nothing", "Nothing."),
    ]
'''


@pytest.fixture
def registry(distribution):
    distribution("acme", TAYLOR)
    return load_plugins().registry


def config(**sections):
    return raw_from_mapping({"model": "mlp", "data": "digits", **sections})


def module_of(metric: object) -> str:
    return type(metric).__module__.partition(".")[0]


@pytest.mark.parametrize(
    ("pruner", "home"), [("taylor", "nodelens_metrics"), ("mine", "acme"), ("magnitude", "")]
)
def test_a_pruner_ranks_by_the_metric_of_its_own_distribution(registry, pruner, home):
    checked = check_config(config(pruning=pruner), registry)
    metrics = choose_metrics(checked, registry).metrics
    if home:
        assert module_of(metrics["taylor"]) == home
    else:
        assert "taylor" not in metrics


def test_a_metric_is_made_of_those_of_its_own_distribution(registry):
    checked = check_config(config(metrics=["composed"]), registry)
    assert module_of(choose_metrics(checked, registry).metrics["taylor"]) == "acme"


CLASHES = {
    "two metrics of a name": {"metrics": ["taylor"]},
    "a pruner that breaks": {"pruning": "broken"},
    "a pruner that says nothing": {"pruning": "nothing"},
    "another metric than a pruner means": {"metrics": ["acme:taylor"], "pruning": "taylor"},
    "another metric than a plugin means": {
        "metrics": ["nodelens-metrics:taylor"],
        "pruning": "mine",
    },
    "another metric than a metric means": {"metrics": ["nodelens-metrics:taylor", "composed"]},
    "a name of two by score": {"pruning": {"name": "by_score", "metric": "taylor"}},
    "two pairs of a name": {
        "metrics": ["weight_l1"],
        "pruning": [{"name": "random", "label": "a.b"}, {"name": "random", "label": "a"}],
        "recovery": [
            {"name": "fine_tune", "steps": 3, "label": "c"},
            {"name": "fine_tune", "steps": 3, "label": "b.c"},
        ],
    },
}


@pytest.mark.parametrize("case", CLASHES)
def test_the_check_finds_every_clash_that_a_run_would(registry, case):
    from nodelens.config.schema import Component, RunConfig

    with pytest.raises(ConfigError) as found:
        check_config(config(**CLASHES[case]), registry)
    sections = {key: _components(value, Component) for key, value in CLASHES[case].items()}
    data = check_config(config(), registry).data
    with pytest.raises(NodelensError) as raised:
        choose_metrics(RunConfig(model=Component("mlp"), data=data, **sections), registry)
    said = str(raised.value).removeprefix("metrics: ").removeprefix("recovery: ")
    assert said.splitlines()[0] in str(found.value)


def _components(value, kind):
    found = []
    for item in value if isinstance(value, list) else [value]:
        parts = {"name": item} if isinstance(item, str) else dict(item)
        name, label = parts.pop("name"), parts.pop("label", None)
        found.append(kind(name, parts, label))
    return tuple(found)


def test_a_pruner_that_breaks_is_named(registry):
    with pytest.raises(
        ConfigError, match=r"pruning: 'broken' cannot say .*far \(acme\.Broken\.met"
    ):
        check_config(config(pruning="broken"), registry)


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("conductance_completeness", "describes layers and ranks no nodes"),
        ("weight_l1", "reads no data, so that it is stable from the start"),
        ("nothing", "'nothing' is not one of the run's metrics"),
    ],
)
def test_what_a_run_cannot_stop_by_is_found_by_the_check(registry, metric, reason):
    capture = {"stop_when": {"metric": metric}}
    metrics = ["activation_rms"] if metric == "nothing" else [metric]
    with pytest.raises(ConfigError, match=f"capture.stop_when.metric: .*{reason}"):
        check_config(config(metrics=metrics, capture=capture), registry)


@pytest.mark.parametrize("name", ["tay*", "activation", "family:weights"])
def test_an_intervention_by_a_metric_that_the_run_lacks_is_found_by_the_check(registry, name):
    ablation = {"name": "ablation", "metrics": [name]}
    with pytest.raises(ConfigError, match=r"interventions.metrics: .* is not one of the run's"):
        check_config(config(metrics=["activation_rms"], interventions=[ablation]), registry)


def test_an_intervention_may_go_by_what_a_pruner_adds(registry):
    ablation = {"name": "ablation", "metrics": ["weight_l1"]}
    check_config(config(pruning="magnitude", interventions=[ablation]), registry)
