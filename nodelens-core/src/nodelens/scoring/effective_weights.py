"""The weights that a model multiplies with, by name: stored parameters, and computed weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nodelens.channels.groups import ChannelGraph
    from nodelens.channels.weight_programs import ComputedWeight


@define(eq=False)
class EffectiveWeights(Mapping[str, "Tensor"]):
    """Parameters, buffers and computed weights by name; each is computed once, when asked for.

    A computed weight hides a parameter of its name, which is one of its factors.
    """

    stored: Mapping[str, Tensor]
    computed: Mapping[str, ComputedWeight]
    known: dict[str, Tensor] = field(factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.computed:
            return self.stored[name]
        if name not in self.known:
            self.known[name] = self.computed[name].compute(self.stored)
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.stored, *self.computed)))

    def __len__(self) -> int:
        return len(self.stored.keys() | self.computed.keys())


def effective_weights(model: nn.Module, graph: ChannelGraph) -> EffectiveWeights:
    """Return the weights that a model multiplies with, from its present parameters."""
    stored = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    return EffectiveWeights(stored, graph.computed)
