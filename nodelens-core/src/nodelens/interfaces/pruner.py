"""The contract of a pruning method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    from torch import nn

    from nodelens.channels.groups import ChannelGraph
    from nodelens.removal.attribute_hints import AttributeHint
    from nodelens.scoring.scores import Scores


@frozen(eq=False)
class PruningRequest:
    """The dense model and the scores that a pruning method may use.

    `scores` holds every metric that the method requests; `hints` are what the model's backend
    knows, for the removal that follows.
    """

    model: nn.Module
    graph: ChannelGraph
    scores: Scores
    seed: int
    hints: tuple[AttributeHint, ...] = ()


@frozen(eq=False)
class PruningPlan:
    """The nodes that are kept in every channel group.

    `keep` maps a group's name to the sorted indices of its kept nodes; groups that are not named
    are kept whole. `replace` is what consumers read in place of a pruned node: ``zero``, or
    ``mean``, which goes into the consumers' biases (FLAP, arXiv 2312.11983, eq. 5).
    """

    keep: Mapping[str, tuple[int, ...]]
    replace: Literal["zero", "mean"] = "zero"
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(factory=dict)  # Any: JSON values of the method's own


@runtime_checkable
class Pruner(Protocol):
    """A pruning method: a frozen attrs class whose fields are its options.

    Example:
        ::

            @frozen
            class Half:
                def metrics(self):
                    return ()

                def plan(self, request):
                    groups = [group for group in request.graph if group.prunable]
                    return PruningPlan({g.name: tuple(range(0, g.width, 2)) for g in groups})
    """

    def metrics(self) -> tuple[str, ...]:
        """Return the names of the metrics that the method ranks by.

        They join the metrics of the run, so that one capture serves all methods. A name means the
        metric of the method's own distribution, if that has one; ``distribution:name`` means that
        of another. The scores of both are under the bare name.

        Returns:
            Names of metrics, none where the method needs no scores.
        """

    def plan(self, request: PruningRequest) -> PruningPlan:
        """Choose the nodes that are kept; the model is not changed.

        Args:
            request: the dense model, its graph, and the scores of `metrics`.

        Returns:
            The kept nodes by group, and what consumers read in place of pruned ones.

        Raises:
            ConfigError: for options that no plan of this model can meet.
        """
