"""The channel groups of a model, with the methods of users: mask, remove, verify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from inspect import signature
from typing import TYPE_CHECKING, Any

import attrs
from torch import nn

from nodelens.channels import infer as channels
from nodelens.channels.groups import ChannelGraph
from nodelens.channels.model_check import check_model
from nodelens.errors import ModelError
from nodelens.masks import masking
from nodelens.removal import removal, verify
from nodelens.renamed_arguments import refuse_earlier_names

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.operator import Operator
    from nodelens.masks.kept_nodes import Keep
    from nodelens.removal.equivalence_result import EquivalenceResult


@attrs.frozen
class ModelGraph(ChannelGraph):
    """The channel groups of one model, with methods that mask, remove and verify their nodes.

    Code that only reads groups takes a `ChannelGraph`.
    """

    def mask(
        self,
        model: nn.Module,
        keep: Keep,
        replace: masking.Replacement = "zero",
        means: Mapping[str, Tensor] | None = None,
        seed: int = 0,
    ) -> AbstractContextManager[None]:
        """Replace the nodes not in `keep` at their consumers' inputs; see `masks.mask`."""
        check_model(model, self)
        return masking.mask(model, self, keep, replace, means, seed)

    def remove(self, model: nn.Module, keep: Keep, *args: Any, **kwargs: Any) -> removal.Removal:
        """Remove the nodes not in `keep` from `model`, or change nothing; see `removal.remove`."""
        check_model(model, self)
        return removal.remove(model, self, keep, *args, **kwargs)

    def verify(self, model: nn.Module, *args: Any, **kwargs: Any) -> list[EquivalenceResult]:
        """Return one result per group, each from a trial removal; see `verify.verify`."""
        check_model(model, self)
        return verify.verify(model, self, *args, **kwargs)


def infer(
    model: nn.Module, *args: Any, operators: Sequence[Operator] = (), **kwargs: Any
) -> ModelGraph:
    """Return the channel groups of `model`, found by forwards on fake copies of example inputs.

    Nothing is computed and the model is not changed. A model whose control flow depends on data is
    run on the inputs themselves. A model that cannot be traced gets one frozen group per Linear and
    convolution.

    Args:
        model: the model; its weights may be on the meta device.
        *args: example inputs of the forward; two samples or more, so that samples are found.
        operators: rows for operators that the core does not know, also for masks and removal.
        **kwargs: example inputs of the forward by keyword.

    Returns:
        The groups in the order of the forward; groups whose nodes no weight writes come last.

    Example:
        ::

            graph = nodelens.infer(model, x)
            with graph.mask(model, {"0:channels": [0, 2, 4, 6]}):
                masked = model(x)
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    own = signature(model.forward).parameters
    refuse_earlier_names("infer", kwargs.keys() - own, {"rules": "operators"})
    found = channels.infer(model, *args, operators=operators, **kwargs)
    return ModelGraph(**attrs.asdict(found, recurse=False))
