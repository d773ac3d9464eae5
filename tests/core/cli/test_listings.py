"""Listing and explaining components."""

from __future__ import annotations

import json

import pytest

from nodelens.plugins.specs import PLURALS

SOURCE = '''
from attrs import evolve, field, frozen
from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.gram import Gram
from nodelens.statistics.gradients import GradientMoments
from nodelens.statistics.moments import Moments

@hookimpl
def nodelens_register_metrics():
    return [
        MetricSpec("peak", "acme:Peak", "Largest activation.", family="acme"),
        MetricSpec("peak_to_mean", "acme:Peak", "Largest over mean activation.", family="acme"),
        MetricSpec("hidden", "acme_secret:Hidden", "Cannot be imported.", family="acme"),
        MetricSpec("set_up", "acme:SetUp", "Has to be set up.", family="acme"),
        MetricSpec("twins", "acme:Twins", "Compares all pairs.", family="acme"),
        MetricSpec("depth", "acme:Depth", "Of a layer, by others.", family="acme"),
        MetricSpec("broken", "acme:Broken", "Cannot say what it needs.", family="acme"),
    ]

@frozen
class Peak:
    """The largest activation.

    Over all positions and samples.

    Attributes:
        top: how many of the largest are averaged.
    """

    top: int = 1
    info = MetricInfo(
        formula="max a",
        unit="activation",
        higher_is_better=True,
        dead_nodes="lowest",
        invariances=frozenset({"functional", "activation_shift"}),
    )
    statistics = (Moments(),)

    def score(self, group):
        raise NotImplementedError

@frozen
class SetUp(Peak):
    """A metric with an option that has to be given."""

    share: float = field(kw_only=True)

@frozen
class Twins(Peak):
    """Compares all pairs."""

    statistics = (Gram(), GradientMoments())

    def sketched(self):
        return Twins()

@frozen
class Depth(Peak):
    """One number of a layer."""

    info = evolve(Peak.info, level="layer")
    depends_on = ("acme:twins",)

@frozen
class Broken(Peak):
    """Raises."""

    @property
    def statistics(self):
        raise ZeroDivisionError("on purpose")
'''


@pytest.fixture(autouse=True)
def acme(distribution):
    distribution("acme", SOURCE)


def test_a_listing_has_families(nodelens):
    outcome = nodelens("-q", "metrics", "acme:*")
    assert outcome.out == (
        "acme\n"
        "  broken        node   ?        Cannot say what it needs.\n"
        "  depth         layer  pairs    Of a layer, by others.\n"
        "  hidden        ?      ?        Cannot be imported.\n"
        "  peak          node   forward  Largest activation.\n"
        "  peak_to_mean  node   forward  Largest over mean activation.\n"
        "  set_up        node   depends  Has to be set up.\n"
        "  twins         node   pairs    Compares all pairs.\n"
    )


def test_a_family_is_listed(nodelens):
    listed = nodelens("-q", "metrics", "family:acme", "--json").out
    assert {each["distribution"] for each in json.loads(listed)} == {"acme"}
    assert nodelens("metrics", "family:acne").err.startswith(
        "error: no metric is of a family 'acne'; did you mean 'acme'?"
    )


def test_a_listing_of_everything_says_what_is_known_without_an_import(nodelens):
    out = nodelens("-q", "metrics").out
    assert " ".join(out.split()).startswith(
        "acme broken Cannot say what it needs. depth Of a layer"
    )
    found = json.loads(nodelens("-q", "metrics", "--json").out)
    (peak,) = [each for each in found if each["name"] == "peak"]
    assert (peak["family"], "level" in peak, "cost" in peak) == ("acme", False, False)


def test_wildcards_choose(nodelens):
    outcome = nodelens("-q", "metrics", "peak*", "hid*", "*mean", "--json")
    names = [each["name"] for each in json.loads(outcome.out) if each["distribution"] == "acme"]
    assert names == ["peak", "peak_to_mean", "hidden"]


def test_a_listing_as_json(nodelens):
    assert json.loads(nodelens("-q", "metrics", "acme:peak?*", "--json").out) == [
        {
            "name": "peak_to_mean",
            "kind": "metric",
            "family": "acme",
            "level": "node",
            "cost": "forward",
            "summary": "Largest over mean activation.",
            "distribution": "acme",
            "version": "1.0",
        }
    ]


def test_an_exact_name_is_explained(nodelens):
    assert nodelens("-q", "metrics", "peak").out == (
        "peak: metric of acme 1.0\n"
        "\n"
        "  The largest activation.\n"
        "\n"
        "  Over all positions and samples.\n"
        "\n"
        "  level        node\n"
        "  keep         high values\n"
        "  unit         activation\n"
        "  formula      max a\n"
        "  source       common\n"
        "  invariances  activation_shift, functional\n"
        "  dead nodes   lowest\n"
        "  reads        Moments(reads='activation', order=2)\n"
        "  cost         forward: one forward pass over the samples\n"
        "\n"
        "  options\n"
        "    top: a whole number; default 1\n"
        "        how many of the largest are averaged.\n"
    )


def test_an_explanation_as_json(nodelens):
    (explanation,) = json.loads(nodelens("-q", "metrics", "peak", "--json").out)
    assert explanation["options"] == [
        {
            "name": "top",
            "type": "a whole number",
            "default": "1",
            "doc": "how many of the largest are averaged.",
        }
    ]
    assert explanation["statistics"] == ["Moments(reads='activation', order=2)"]
    assert (explanation["level"], explanation["cost"]) == ("node", "forward")
    assert explanation["description"].endswith("positions and samples.")


def test_several_names_are_explained_one_after_the_other(nodelens):
    out = nodelens("-q", "metrics", "peak", "acme:peak_to_mean").out
    assert "\n\npeak_to_mean: metric of acme 1.0\n" in out


def test_what_a_metric_is_made_of_and_its_sketch_are_told(nodelens):
    assert "  made of      acme:twins\n" in nodelens("-q", "metrics", "depth").out
    assert (
        "  sketch       has a version for little memory" in nodelens("-q", "metrics", "twins").out
    )
    assert "on purpose" in nodelens("-q", "metrics", "broken").out


def test_a_required_option_is_named(nodelens):
    out = nodelens("-q", "metrics", "set_up").out
    assert "share: a number; has to be given" in out
    assert "reads        depend on the options" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["metrics", "peek"], "error: no metric is called 'peek'; did you mean 'peak'?"),
        (["metrics", "pekk*"], "error: no metric matches 'pekk*'; did you mean 'peak'?"),
        (["metrics", "digits"], "there is a dataset of that name"),
        (["metrics", "hidden"], "error: metric 'hidden' of acme 1.0 cannot be loaded: needs the"),
        (["datasets", "digit"], "error: no dataset is called 'digit'; did you mean 'digits'?"),
    ],
)
def test_what_cannot_be_shown_is_a_mistake(nodelens, args, message):
    outcome = nodelens("-q", *args)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_two_offers_of_one_name_are_both_listed(nodelens, distribution):
    distribution("beta", SOURCE)
    out = nodelens("-q", "metrics", "peak").err
    assert "metric 'peak' is offered by acme 1.0, beta 1.0" in out
    listed = nodelens("-q", "metrics", "peak?*").out
    assert "acme:peak_to_mean  node  forward  Largest over mean activation." in listed
    assert "beta:peak_to_mean  node  forward  Largest over mean activation." in listed


@pytest.mark.parametrize("plural", [PLURALS[kind] for kind in PLURALS if kind != "command"])
def test_every_kind_has_a_listing(nodelens, plural):
    outcome = nodelens("-q", plural, "--json")
    assert outcome.code == 0
    assert isinstance(json.loads(outcome.out), list)


def test_an_empty_listing_says_where_to_look(nodelens):
    outcome = nodelens("-q", "--no-plugin", "nodelens-pruning", "pruners")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "no plugin offers pruners; see: nodelens plugins\n"


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "import"])
def test_the_text_fits_eighty_columns(nodelens, name):
    lines = nodelens("-q", "backends", name).out.splitlines()
    assert max(map(len, lines)) <= 80


OPERATOR = """
from nodelens.interfaces.operator import Operator
from nodelens.plugins.specs import OperatorSpec

GATE = Operator("acme::gate", lambda op: [])

@hookimpl
def nodelens_register_operators():
    return [OperatorSpec("gate", f"{__name__}:{TARGET}", "A fused gate.")]
"""


def checked(nodelens):
    """Return what ``plugins --check`` says of the operator."""
    checks = json.loads(nodelens("plugins", "--check", "--json").out)["checks"]
    (problem,) = (each["problem"] for each in checks if each["kind"] == "operator")
    return problem or "ok"


def test_an_operator_is_explained_by_its_row(nodelens, distribution):
    distribution("gatesmith", OPERATOR + "TARGET = 'GATE'")
    told = nodelens("operators", "gate")
    assert told.code == 0, told.err
    assert "acme::gate" in told.out
    assert checked(nodelens) == "ok"


def test_an_operator_without_a_row_is_refused(nodelens, distribution):
    distribution("gatesmith", OPERATOR + "TARGET = 'OperatorSpec'")
    told = nodelens("operators", "gate")
    assert told.code == 2
    assert ":OperatorSpec is not an Operator (a row of nodelens.interfaces" in told.err
    assert "is not an Operator" in checked(nodelens)
