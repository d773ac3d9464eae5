"""The channel groups of a model, with the verbs of users: mask, remove, verify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import attrs

from nodelens.channels import infer as channels
from nodelens.channels.groups import ChannelGraph
from nodelens.masks import masking
from nodelens.removal import removal, verify

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nodelens.interfaces.operator import Operator
    from nodelens.removal.equivalence_result import EquivalenceResult


@attrs.frozen
class ModelGraph(ChannelGraph):
    """The channel groups of one model, which masks, removes and verifies their nodes.

    A `ChannelGraph` in every other respect: code that only reads groups takes that.
    """

    def mask(
        self,
        model: nn.Module,
        keep: masking.Keep,
        replace: masking.Replacement = "zero",
        means: Mapping[str, Tensor] | None = None,
        seed: int = 0,
    ) -> AbstractContextManager[None]:
        """Let consumers read something else in place of nodes not in `keep`; see `masks.mask`."""
        return masking.mask(model, self, keep, replace, means, seed)

    def remove(
        self, model: nn.Module, keep: masking.Keep, *args: Any, **kwargs: Any
    ) -> removal.Removal:
        """Remove the nodes not in `keep` from `model`, or change nothing; see `removal.remove`."""
        return removal.remove(model, self, keep, *args, **kwargs)

    def verify(self, model: nn.Module, *args: Any, **kwargs: Any) -> list[EquivalenceResult]:
        """Return whether removal is exact, group by group; see `verify.verify`."""
        return verify.verify(model, self, *args, **kwargs)


def infer(
    model: nn.Module, *args: Any, operators: Sequence[Operator] = (), **kwargs: Any
) -> ModelGraph:
    """Return the channel groups of `model`, found by one forward on fake copies of the inputs.

    `args` and `kwargs` are example inputs. `operators` are rows of operators that the core does not
    know, which masks and removal then know too. See `channels.infer.infer`.
    """
    found = channels.infer(model, *args, operators=operators, **kwargs)
    return ModelGraph(**attrs.asdict(found, recurse=False))
