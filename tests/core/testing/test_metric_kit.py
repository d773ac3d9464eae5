"""The kit catches metrics that are wrong in one way, and names that way."""

from typing import ClassVar

import pytest
import torch
from attrs import evolve, field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.plugins.specs import MetricSpec
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments
from nodelens.testing import Check, check_metric, failures
from nodelens.weights.row_sums import RowSums


@frozen
class Honest:
    """The root mean square activation."""

    info = MetricInfo(
        formula="(E a²)^½",
        unit="activation",
        higher_is_better=True,
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
    )
    statistics = (Moments(),)

    def score(self, group):
        return group[Moments()].rms


@frozen
class LastBatch:
    """A statistic that keeps the last batch only."""

    reads: str = "activation"
    requires: ClassVar = frozenset()

    def start(self, layout):
        return {"last": torch.zeros(layout.width, dtype=torch.float64)}

    def update(self, state, reading):
        state["last"] = reading.values.mean((0, 1))

    def merge(self, state, other):
        state["last"] = other["last"]

    def summary(self, state, keep):
        return state["last"]


@frozen
class OrderDependent(Honest):
    """It depends on the order of the batches."""

    statistics = (LastBatch(),)

    def score(self, group):
        return group[LastBatch()]


@frozen
class DeadIgnored(Honest):
    """It says that a dead node is least important, but shifts it to the middle."""

    def score(self, group):
        rms = group[Moments()].rms
        return rms.where(rms > 0, rms.median())


@frozen
class NaN(Honest):
    """It divides zero by zero."""

    def score(self, group):
        return group[Moments()].mean.square() / group[Moments()].mean_square


@frozen
class AllFolds(Moments):
    """Moments of all folds, whichever are kept."""

    def summary(self, state, keep):
        return Moments.summary(self, state, torch.ones_like(keep))


@frozen
class FoldBlind(Honest):
    """It has no standard error, because it ignores what is left out."""

    statistics = (AllFolds(),)

    def score(self, group):
        return group[AllFolds()].rms


@frozen
class Unranked(Honest):
    """It ranks no nodes, but says where a dead node is ranked."""

    info = evolve(Honest.info, higher_is_better=None)


@frozen
class Mutating(Honest):
    """It sorts the weights in place."""

    def score(self, group):
        group.parameters["layer.weight"].mul_(2.0)
        return group[Moments()].rms


@frozen
class Undeclared(Honest):
    """It reads a statistic that it did not declare."""

    def score(self, group):
        return group[Magnitudes()].mean_abs


@frozen
class UndeclaredWeights(Honest):
    """It reads a sum of weights that it did not declare."""

    def score(self, group):
        return group[Moments()].rms * group[RowSums("abs")].total


@frozen
class LayerNumber(Honest):
    """It gives every node the same number."""

    info = evolve(Honest.info, dead_nodes="any")

    def score(self, group):
        rms = group[Moments()].rms
        return rms.mean().expand(rms.shape).clone()


@frozen
class NodeIndex(Honest):
    """It depends on the position of a node."""

    def score(self, group):
        return group[Moments()].rms * torch.arange(1.0, group.width + 1)


@frozen
class Single(Honest):
    """It gives float32."""

    def score(self, group):
        return group[Moments()].rms.float()


@frozen
class WrongInvariance(Honest):
    """It claims to be invariant to the scale of the activation."""

    info = evolve(Honest.info, invariances=frozenset({"activation_scale"}))


@frozen
class Refuses(Honest):
    """It is never applicable."""

    def score(self, group):
        raise NotApplicableError("no")


@frozen
class Careless(Honest):
    """It says too little."""

    info = evolve(Honest.info, formula="")


@frozen
class WrongRecord(Honest):
    """It has a plain mapping in place of the record."""

    info: ClassVar = {"unit": "1"}


@frozen
class Raising(Honest):
    """It breaks."""

    def score(self, group):
        return group.nothing


@frozen
class Deaf(Honest):
    """Its option does nothing.

    Attributes:
        power: ignored.
    """

    power: float = 1.0


@frozen
class Named(Honest):
    """Its option is a text.

    Attributes:
        weight: how often the score counts.
    """

    weight: str = "once"

    def score(self, group):
        return group[Moments()].rms * (2.0 if self.weight == "twice" else 1.0)


@frozen
class Wide(Honest):
    """One option changes what is read, one what is made of that.

    Attributes:
        order: of the moments.
        power: of the score.
    """

    order: int = field(default=2, validator=validators.in_((2, 4)))
    power: int = field(default=1, validator=validators.ge(1))

    @property
    def statistics(self):
        return (Moments(order=self.order),)

    def score(self, group):
        return group[Moments(order=self.order)].rms ** self.power


@frozen
class Undocumented(Honest):
    """Its option is not explained."""

    power: float = field(default=1.0)

    def score(self, group):
        return group[Moments()].rms ** self.power


def lines_of(metric, **options):
    """Run all checks but that of the imports: this module imports torch."""
    checks = check_metric(metric, **options)
    return failures(check for check in checks if "light import" not in str(check))


def test_an_honest_metric_passes():
    assert lines_of(Honest) == []


@pytest.mark.parametrize(
    ("metric", "check", "message"),
    [
        (OrderDependent, "batching", "another batching of the rows changed the scores by"),
        (OrderDependent, "merging", "merging two halves changed the scores"),
        (OrderDependent, "padding", "masked padding changed the scores"),
        (DeadIgnored, "a dead node has the lowest importance", "not the score of lowest"),
        (NaN, "finite with a dead node", "scores are not finite"),
        (FoldBlind, "leaving out the one fold in which a node fires", "a fold read and left out"),
        (Unranked, "metadata", "dead_nodes is 'lowest', but higher_is_better is None"),
        (Mutating, "inputs unmodified", "score changed parameter layer.weight"),
        (Undeclared, "what is declared suffices", "with what it declares alone"),
        (UndeclaredWeights, "what is declared suffices", "is read, but not named in the metric"),
        (LayerNumber, "differs between nodes", "that describes a layer"),
        (NodeIndex, "order of nodes", "another order of the nodes changed the scores"),
        (Single, "shape, dtype and finite", "scores are torch.float32, not torch.float64"),
        (WrongInvariance, "invariant to activation_scale", "activation_scale changed the scores"),
        (Refuses, "what is declared suffices", "with what it declares alone: no"),
        (Careless, "metadata", "formula is ''; say it in words"),
        (WrongRecord, "metadata", "WrongRecord.info is {'unit': '1'}, not a MetricInfo"),
        (Raising, "repeats", "raised AttributeError"),
        (Undocumented, "options documented", "options without a line under Attributes: power"),
    ],
)
def test_a_bad_metric_is_caught(metric, check, message):
    lines = [line for line in lines_of(metric) if f": {check}: " in line]
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize("variants", [(), [{"power": 2.0}]])
def test_an_option_without_effect_is_caught(variants):
    message = "option power changes a result: the option changes nothing on an ordinary layer"
    assert lines_of(Deaf, variants=variants) == [f"Deaf: {message}"]


def test_an_option_that_the_kit_cannot_set_is_caught():
    message = "no other value is known: give weight examples, or variants=[...]"
    assert lines_of(Named) == [f"Named: option weight changes a result: {message}"]
    assert lines_of(Named, variants=[{"weight": "twice"}]) == []


def test_other_settings_run_what_they_can_change():
    names = {str(check) for check in check_metric(Wide)}
    assert "Wide(order=4): merging" in names
    assert "Wide(power=2): merging" not in names
    assert "Wide(power=2): order of nodes" in names


def test_a_class_that_is_no_metric_is_reported_not_raised():
    class Nothing:
        pass

    assert any("Nothing is not an attrs class" in line for line in lines_of(Nothing))


def test_a_spec_is_imported_and_an_instance_is_taken_as_it_is():
    spec = MetricSpec(
        name="weight_l1", target="nodelens_metrics.weights.norms:WeightL1", summary="L1."
    )
    assert {str(check).split(":")[0] for check in check_metric(spec)} == {"WeightL1"}
    assert lines_of(Honest()) == []


def test_heavy_imports_are_caught():
    from nodelens.testing.imports import check_light

    with pytest.raises(AssertionError, match=r"import nodelens\.scoring\.view brings torch"):
        check_light("nodelens.scoring.view")


def test_a_module_that_does_not_import_is_caught():
    from nodelens.testing.imports import check_light

    with pytest.raises(AssertionError, match="an error: ModuleNotFoundError"):
        check_light("nodelens.no_such_module")


def test_failures_reports_what_a_check_raises():
    def broken():
        raise ValueError("no data")

    assert failures([Check("fine", lambda: None), Check("bad", broken)]) == [
        "bad: raised ValueError: no data"
    ]


def test_checks_are_values_with_readable_ids():
    check = Check("name", lambda: None)
    assert str(check) == "name"
    assert str(evolve(check, name="other")) == "other"
