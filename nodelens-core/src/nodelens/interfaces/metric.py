"""What a metric is, and what it may look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

from nodelens.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

Better = Literal["high", "low", "neither"]


@runtime_checkable
class Metric(Protocol):
    """A function from the statistics and weights of one group to one number per node.

    Implementations are frozen attrs classes whose fields are the metric's options; the module must
    import without torch. The class docstring starts with what the number is.

    What may be left out: ``jackknife = False`` says that leaving out folds gives no standard error,
    as with a largest or smallest value, which most folds do not hold; the scores have none then.
    ``level = "layer"`` says that the metric describes a whole group: `score` gives one number,
    shape ``(1,)``, that ranks no nodes. ``uses() -> tuple[str, ...]`` names other metrics that it
    is made of, which ``group.part(name)`` then gives; they are scored as well. ``unfit(parts) ->
    list[str]`` says what speaks against these metrics, before any data is read, and
    ``contributions(group) -> dict[str, Tensor]`` what each of them adds to the values, which is
    kept with the scores. ``sketched() -> Metric`` gives a version that needs less memory, for when
    the budget is too small.
    """

    better: ClassVar[Better]
    """Which end of the scale marks a node worth keeping."""
    unit: ClassVar[str]
    """The unit of the value, such as ``nats`` or ``loss``; ``1`` for a pure number."""
    formula: ClassVar[str]
    """The formula in plain text."""
    source: ClassVar[str]
    """Paper and equation, or ``common``."""
    invariances: ClassVar[frozenset[str]]
    """Which rewritings leave it unchanged; the author kit tests every one that is named.

    ``activation_scale`` (a → c·a with everything else fixed), ``activation_shift`` (a → a + c),
    ``functional`` (a → c·a and outgoing weights / c), ``incoming_scale`` (incoming weights and
    pre-activations × c).
    """
    dead: ClassVar[Literal["worst", "best", "any"]]
    """What a node that is always zero gets: the score least, or most, worth keeping, or neither."""

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Return the statistics that `score` reads; empty for metrics of weights alone."""

    def score(self, group: GroupView) -> Tensor:
        """Return one float64 value per node, shape ``(nodes,)``; ``(1,)`` of a layer metric.

        Raise `nodelens.errors.NotApplicableError` with the reason where the metric is undefined.
        """


def level_of(metric: Metric) -> Literal["node", "layer"]:
    """Return what one value of the metric describes."""
    level: Literal["node", "layer"] = getattr(metric, "level", "node")
    return level


def uses_of(metric: Metric) -> tuple[str, ...]:
    """Return the names of the metrics that this one is made of."""
    return tuple(metric.uses()) if hasattr(metric, "uses") else ()


def has_jackknife(metric: Metric) -> bool:
    """Return whether leaving out folds gives a standard error of this metric's scores."""
    return bool(metric.needs()) and getattr(metric, "jackknife", True)


def checked_metric(name: str, metric: object) -> Metric:
    """Return `metric`; raises `PluginError` unless it keeps the contract and says what it needs."""
    if isinstance(metric, type):
        raise PluginError(f"metric {name!r} is a class; give an object: {metric.__name__}()")
    if not isinstance(metric, Metric):
        lacking = [part for part in _PARTS if not hasattr(metric, part)]
        raise PluginError(f"metric {name!r} lacks {', '.join(lacking)}; see nodelens.testing")
    if metric.better not in get_args(Better):
        raise PluginError(
            f"metric {name!r}: better is {metric.better!r}, not one of {get_args(Better)}"
        )
    try:
        metric.needs()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"metric {name!r} cannot say what it needs: {reason}") from error
    return metric


_PARTS = ("better", "unit", "formula", "source", "invariances", "dead", "needs", "score")
