"""Evaluation of a model with ablated nodes, always on one set of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.errors import CaptureError, UnknownNameError, did_you_mean
from nodelens.interfaces.intervention import InterventionRequest
from nodelens.masks import mask
from nodelens.training.model_evaluation import EvaluationResult, evaluate

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGraph, ChannelGroup

AblationReplacement = Literal["zero", "mean"]
Removed = Mapping[str, Sequence[int] | NDArray[np.int64]]


@frozen(eq=False)
class Ablator:
    """Evaluates a model with ablated nodes; `dense` is the evaluation of the unablated model."""

    request: InterventionRequest
    replace: AblationReplacement
    dense: EvaluationResult

    def evaluate_without(self, removed: Removed) -> EvaluationResult:
        """Evaluate without some nodes, given by group; the model is not changed."""
        keep = {
            name: np.setdiff1d(np.arange(self.request.graph[name].width), nodes).tolist()
            for name, nodes in removed.items()
            if len(nodes)
        }
        if not keep:
            return self.dense
        request = self.request
        with mask(request.model, request.graph, keep, self.replace, request.means):
            return evaluate(request.model, request.batches)


def open_ablator(
    request: InterventionRequest, replace: AblationReplacement, groups: Sequence[ChannelGroup]
) -> Ablator:
    """Evaluate the model as it is; raises `CaptureError` if `groups` lack means that are needed."""
    missing = [group.name for group in groups if group.name not in request.means]
    if replace == "mean" and missing:
        raise CaptureError(
            f"replace: mean needs the mean activation of {', '.join(missing)}, which was not "
            "captured; use replace: zero, or add a metric of activations"
        )
    return Ablator(request, replace, evaluate(request.model, request.batches))


def maskable(graph: ChannelGraph, named: Sequence[str] | None = None) -> tuple[ChannelGroup, ...]:
    """Return the groups all of whose reads are shown: only their nodes can be ablated.

    `named` are patterns of the groups' names. Without any, groups of nodes that are parts of
    another group's, such as single query heads, are left out. Raises `UnknownNameError` for a
    pattern that no such group fits.
    """
    readable = [group for group in graph if group.at("activation")]
    if named is None:
        return tuple(group for group in readable if not group.part_of)
    names = [group.name for group in readable]
    for pattern in named:
        if not any(fnmatchcase(name, pattern) for name in names):
            hint = did_you_mean(pattern, names)
            raise UnknownNameError(f"groups: no group that can be ablated fits {pattern!r}{hint}")
    return tuple(
        group for group in readable if any(fnmatchcase(group.name, each) for each in named)
    )
