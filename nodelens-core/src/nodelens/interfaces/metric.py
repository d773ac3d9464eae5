"""The interface of metrics: scores of nodes from the statistics and weights of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from attrs import field, frozen, validators

from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import AnyStatistic
    from nodelens.interfaces.weight_reduction import WeightReduction
    from nodelens.scoring.view import GroupView

Level = Literal["node", "layer"]
INVARIANCES = ("activation_scale", "activation_shift", "functional", "incoming_scale")
"""The rewritings of a layer that a metric may claim not to see."""
DeadNodes = Literal["lowest", "highest", "any"]


@renamed_arguments(jackknife="no_interval")
@frozen(kw_only=True)
class MetricInfo:
    """The metadata of a metric: formula, unit, direction, and tested properties.

    Attributes:
        formula: the formula in plain text.
        unit: the unit of the value, such as ``nats`` or ``loss``; ``1`` for a pure number. One line
            of 60 characters at most.
        higher_is_better: True where high values mark the nodes worth keeping, False where low
            values do, None for a metric that describes nodes and ranks none.
        source: paper and equation, or ``common``.
        dead_nodes: the importance of a node that is always zero: ``lowest`` or ``highest`` of its
            group, or ``any``.
        invariances: the rewritings of a layer that leave the values unchanged, each tested by
            `nodelens.testing.check_metric`. ``activation_scale`` is a → c·a with everything else
            fixed, ``activation_shift`` a → a + c, ``functional`` a → c·a with outgoing weights / c,
            ``incoming_scale`` incoming weights and pre-activations × c.
        level: ``node`` for one value per node; ``layer`` for one value, shape ``(1,)``, that
            describes a whole group and ranks no nodes.
        no_interval: the reason why leaving out folds gives no interval that covers, as with a
            largest value, which most folds do not hold; the scores have no standard error then.
            Empty where it does.
        heavy_tails: True for sums of squares of which few rows make most, such as those of
            gradients: intervals are wider where these are fewer, see `Score.interval`.
        name: the name of the metric, where the class name does not give it: ``ActivationRMS`` is
            ``activation_rms``.
    """

    formula: str
    unit: str = field(
        validator=[
            validators.instance_of(str),
            validators.matches_re(r"(?=.*\S)[^\x00-\x1f]{1,60}"),
        ]
    )
    higher_is_better: bool | None = field(
        validator=validators.optional(validators.instance_of(bool))
    )
    source: str = "common"
    dead_nodes: DeadNodes = field(
        default="any", validator=validators.in_(("lowest", "highest", "any"))
    )
    invariances: frozenset[str] = field(
        default=frozenset(),
        validator=validators.deep_iterable(
            validators.in_(INVARIANCES), validators.instance_of(frozenset)
        ),
    )
    level: Level = field(default="node", validator=validators.in_(("node", "layer")))
    no_interval: str = field(default="", validator=validators.instance_of(str))
    heavy_tails: bool = field(default=False, validator=validators.instance_of(bool))
    name: str = ""


class Metric(Protocol):
    """A function from the statistics and weights of one group to one number per node.

    Implementations are frozen attrs classes whose fields are the options of the metric; the module
    must import without torch. The first line of the class docstring says what the number is.
    `info` and `statistics` are class attributes, or properties where options decide.

    A metric may have more. ``weights``, a tuple of weight reductions such as ``RowSums("square")``,
    names what is read of the weights, as ``group[RowSums("square")]``; each is computed once for
    all metrics and folds. ``depends_on``, a tuple of names, lists the other metrics that are read
    by ``group.metric(name)``; these are scored as well. ``check_dependencies(parts) -> list[str]``
    returns the problems of these metrics, before any data is read.
    ``contributions(group) -> dict[str, Tensor]`` returns the part of the values that each of these
    adds, which is kept with the scores. ``sketched() -> Metric`` returns a version that needs less
    memory, for a budget that is too small.

    Example:
        ::

            @frozen
            class ActivationRMS:
                \"\"\"Root mean square activation over all positions; 0 for a dead node.\"\"\"

                info = MetricInfo(
                    formula="(E a²)^½; of components c: (Σ_c E a_c²)^½",
                    unit="activation",
                    higher_is_better=True,
                    dead_nodes="lowest",
                )
                statistics = (Moments(),)

                def score(self, group: GroupView) -> Tensor:
                    return group.total(group[Moments()].mean_square).sqrt()
    """

    @property
    def info(self) -> MetricInfo:
        """The metadata of the metric: formula, unit, direction, and tested properties."""

    @property
    def statistics(self) -> tuple[AnyStatistic[Any], ...]:
        """The statistics that `score` reads; empty for metrics of weights alone."""

    def score(self, group: GroupView) -> Tensor:
        """Compute one value per node.

        Args:
            group: the statistics and weights of one channel group.

        Returns:
            Values in the unit of `info`, ``(nodes,)`` float64; ``(1,)`` for a layer metric.

        Raises:
            NotApplicableError: with the reason, where the metric is undefined.
        """


def dependencies_of(metric: object) -> tuple[str, ...]:
    """Return the names of the other metrics that a metric depends on."""
    return tuple(getattr(metric, "depends_on", ()))


def weights_of(metric: object) -> tuple[WeightReduction[Any], ...]:
    """Return the weight reductions that a metric reads."""
    return tuple(getattr(metric, "weights", ()))
