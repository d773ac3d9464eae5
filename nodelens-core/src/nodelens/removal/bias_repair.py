"""The repair of FLAP: the means of removed nodes are added to the biases of their readers.

Constant inputs give a reader constant outputs: ``W[:, removed] @ mean[removed]`` is added to its
bias (An et al., arXiv 2312.11983, eq. 5). The smaller model is then equivalent to the model whose
nodes are masked by their means. A convolution that pads with zeros has fewer inputs at the border
than its bias accounts for: there, and only there, the two differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from nodelens.channels.node_indices import owned_indices
from nodelens.errors import ModelError
from nodelens.masks.patches import by_place, node_means
from nodelens.removal.attributes import owner_of

if TYPE_CHECKING:
    from nodelens.channels.groups import Site
    from nodelens.removal.journal import Journal
    from nodelens.removal.slicing import Change, TensorCut


@frozen(eq=False)
class BiasShift:
    """The addition to the bias of one reader, ``(outputs,)``, and the outputs that are kept."""

    path: str
    module: nn.Module
    added: Tensor
    kept: Tensor | None
    padded: bool

    @property
    def new(self) -> bool:
        """Whether the reader has no bias so far."""
        return self.module.bias is None

    def perform(self, journal: Journal, added: Tensor) -> None:
        """Add to the bias of the reader; a reader without a bias gets one."""
        bias, weight = self.module.bias, self.module.weight
        assert isinstance(weight, Tensor)
        if isinstance(bias, Tensor):
            total = bias.data.double() + added.to(bias.device)
            journal.set_data(bias, total.to(bias.dtype))
        else:
            made = nn.Parameter(added.to(weight), requires_grad=weight.requires_grad)
            journal.set_item(self.module._parameters, "bias", made)


@frozen(eq=False)
class BiasRepair:
    """All biases that means are added to; none where removed nodes are replaced by zero."""

    shifts: tuple[BiasShift, ...] = ()

    @property
    def padded(self) -> bool:
        """Whether some reader pads with zeros, so that its outputs differ at the border."""
        return any(shift.padded for shift in self.shifts)

    def perform(self, journal: Journal) -> None:
        """Repair the biases of the whole model."""
        for shift in self.shifts:
            shift.perform(journal, shift.added)

    def perform_removed(self, journal: Journal) -> tuple[str, ...]:
        """Repair the biases of the smaller model; return a note where some are new."""
        made = [f"{shift.path}.bias".removeprefix(".") for shift in self.shifts if shift.new]
        for shift in self.shifts:
            kept = shift.kept
            shift.perform(journal, shift.added if kept is None else shift.added[kept])
        return (
            (f"new biases, in no optimizer yet, hold the means: {', '.join(made)}",) if made else ()
        )


def bias_repair(
    model: nn.Module,
    changes: Sequence[Change],
    cuts: Sequence[TensorCut],
    means: Mapping[str, Tensor] | None,
) -> BiasRepair:
    """Return the additions to the biases of all readers.

    `means` are ``(nodes,)`` by group, or ``(nodes, components)``.

    Raises `ModelError` for groups without means, and for readers without a place for a constant:
    others than linear layers and convolutions.
    """
    if means is None:
        return BiasRepair()
    fills: dict[str, Tensor] = {}
    for change in changes:
        if change.group.name not in means:
            raise ModelError(f"{change.group.name}: its nodes have no means to put into biases")
        values = node_means(change.group, means[change.group.name])
        for site in change.group.sites:
            if site.point == "activation":
                reader = _reader(model, site, change)
                fill = fills.setdefault(site.module, _nothing(reader))
                _put(fill, site, change, values)
    by_name = {name: cut for cut in cuts for name in cut.names}
    return BiasRepair(
        tuple(_shift(model, path, fill, by_name) for path, fill in fills.items() if fill.any())
    )


def _reader(model: nn.Module, site: Site, change: Change) -> nn.Module:
    module = model.get_submodule(site.module)
    known = isinstance(module, nn.Linear | _ConvNd) or _is_transposed(module)
    if not known or isinstance(module, _ConvTransposeNd) or not _is_read(site):
        raise ModelError(
            f"the means of {change.group.name} cannot go into a bias: {site.name} is a "
            f"{type(module).__name__}, which does not add one constant to each of its outputs"
        )
    return module


def _is_read(site: Site) -> bool:
    """Whether a site is the tensor that the module's weight is multiplied with."""
    if site.end == "operand":
        return owner_of(str(site.argument)) in _weights(site.module)
    return site.end == "input" and site.argument in (0, "input")


def _is_transposed(module: nn.Module) -> bool:
    """Whether a module is the linear layer of transformers with a transposed weight."""
    return hasattr(module, "nf") and hasattr(module, "nx")


def _nothing(reader: Any) -> Tensor:
    if isinstance(reader, _ConvNd):
        return torch.zeros(reader.in_channels, dtype=torch.float64)
    return torch.zeros(reader.weight.shape[0 if _is_transposed(reader) else 1], dtype=torch.float64)


def _put(fill: Tensor, site: Site, change: Change, means: Tensor) -> None:
    """Put the means, as a mask would at the site, into the vector of a reader's inputs."""
    indices = owned_indices(site.extent)
    if int(indices.max()) >= len(fill):
        raise ModelError(f"the means of {change.group.name} do not fit what {site.name} reads")
    gone, values = ~change.kept, by_place(means, site.extent.count, site.name)
    fill[indices[gone]] = values.to("cpu", torch.float64)[gone]


def _shift(
    model: nn.Module, path: str, fill: Tensor, by_name: Mapping[str, TensorCut]
) -> BiasShift:
    module: Any = model.get_submodule(path)
    with torch.no_grad():
        weight = module.weight.detach().to("cpu", torch.float64)
    written = 1 if _is_transposed(module) else 0
    cuts = (by_name[name] for name in by_name if owner_of(name) in _weights(path))
    cut = next(cuts, None)
    return BiasShift(
        path=path,
        module=module,
        added=_read(module, weight, fill),
        kept=cut.kept.get(written) if cut else None,
        padded=isinstance(module, _ConvNd) and _pads_zeros(module),
    )


def _weights(path: str) -> tuple[tuple[str, str], ...]:
    """Return the names that a module's weight may have: plain, or computed by a weight norm."""
    return (path, "weight"), (path, "weight.original1"), (path, "weight.original")


def _read(module: Any, weight: Tensor, fill: Tensor) -> Tensor:
    """Return the outputs of a reader for one constant per input, ``(outputs,)``."""
    if _is_transposed(module):
        return fill @ weight
    if not isinstance(module, _ConvNd):
        return weight @ fill
    per_group = weight.flatten(2).sum(-1).view(module.groups, -1, weight.shape[1])
    return torch.matmul(per_group, fill.view(module.groups, -1, 1)).flatten()


def _pads_zeros(module: _ConvNd) -> bool:
    if module.padding_mode != "zeros":
        return False
    if isinstance(module.padding, str):
        return module.padding == "same" and any(size > 1 for size in module.kernel_size)
    return any(module.padding)
