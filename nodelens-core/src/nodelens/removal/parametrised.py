"""Values of sliced weights that are computed from other parameters, as by weight norm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

if TYPE_CHECKING:
    from nodelens.removal.journal import Journal
    from nodelens.removal.slicing import TensorCut


@frozen(eq=False)
class Computed:
    """A weight that a module computes, with the values that it must have after slicing."""

    module: nn.Module
    name: str
    remaining: Tensor

    @property
    def sources(self) -> ParametrizationList:
        """The parameters that the weight is computed from."""
        lists: nn.ModuleDict = self.module.parametrizations  # type: ignore[assignment]
        found = lists[self.name]
        assert isinstance(found, ParametrizationList)
        return found


def computed_weights(
    model: nn.Module, cuts: Sequence[TensorCut], remaining: Callable[[TensorCut, Tensor], Tensor]
) -> list[Computed]:
    """Return every computed weight that the cuts touch, with the values to keep, before slicing.

    `remaining` returns the values of a weight that a cut keeps.
    """
    found: dict[tuple[str, str], Computed] = {}
    for cut in cuts:
        for owner, name in _owners(cut):
            module = model.get_submodule(owner)
            with torch.no_grad():
                weight = getattr(module, name)
            if tuple(weight.shape) == cut.shape:
                found[owner, name] = Computed(module, name, remaining(cut, weight).clone())
    return list(found.values())


def _owners(cut: TensorCut) -> Iterator[tuple[str, str]]:
    for path in cut.names:
        owner, _, inside = f".{path}".partition(".parametrizations.")
        if inside:
            yield owner.removeprefix("."), inside.split(".")[0]


def keep_values(weights: Sequence[Computed], journal: Journal) -> bool:
    """Restore the values of sliced computed weights; return whether any had to be set.

    A weight norm divides by the length of a node's weights: fewer inputs, another length. Its
    inverse gives sources that yield the wanted values. Parametrisations without an inverse are left
    alone; the comparison with the masked model decides about them.
    """
    changed = False
    for each in weights:
        with torch.no_grad():
            now = getattr(each.module, each.name)
            invertible = all(hasattr(step, "right_inverse") for step in each.sources)
            if invertible and not torch.allclose(now, each.remaining):
                for tensor in each.sources.parameters(recurse=False):
                    journal.set_data(tensor, tensor.data.clone())
                each.sources.right_inverse(each.remaining)
                changed = True
    return changed
