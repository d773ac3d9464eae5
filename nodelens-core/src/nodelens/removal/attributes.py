"""The attributes of standard modules that repeat the sizes of their parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from nodelens.removal.slicing import TensorCut

if TYPE_CHECKING:
    from nodelens.removal.journal import Journal


@frozen(eq=False)
class Touched:
    """A module with sliced tensors, and the indices kept of these by name inside the module."""

    module: nn.Module
    cuts: Mapping[str, TensorCut]

    def shape(self, name: str = "weight") -> tuple[int, ...]:
        """Return the present shape of one of the module's tensors."""
        if name not in self.module._parameters and f"{name}_v" in self.module._parameters:
            name = f"{name}_v"
        tensor = getattr(self.module, name)
        return tuple(tensor.shape)

    def blocks(self, count: int) -> int:
        """Return how many of `count` equal blocks of the first axis keep any index."""
        for cut in self.cuts.values():
            if 0 in cut.kept:
                return len(set((cut.kept[0] // (cut.shape[0] // count)).tolist()))
        return count


Values = dict[str, Any]
SizeRule = Callable[[Touched], Values]


def _linear(touched: Touched) -> Values:
    written, read = touched.shape()
    return {"in_features": read, "out_features": written}


def _convolution(touched: Touched) -> Values:
    module: Any = touched.module
    first, second = touched.shape()[:2]
    groups = touched.blocks(module.groups)
    read, written = (first, second * groups) if module.transposed else (second * groups, first)
    return {"groups": groups, "in_channels": read, "out_channels": written}


def _features(touched: Touched) -> Values:
    return {"num_features": next(iter(touched.cuts.values())).tensors[0].shape[0]}


def _normalized_shape(touched: Touched) -> Values:
    return {"normalized_shape": touched.shape()}


def _group_norm(touched: Touched) -> Values:
    module: Any = touched.module
    return {
        "num_channels": touched.shape()[0],
        "num_groups": touched.blocks(module.num_groups),
    }


def _embedding(touched: Touched) -> Values:
    rows, width = touched.shape()
    return {"num_embeddings": rows, "embedding_dim": width}


def _bilinear(touched: Touched) -> Values:
    written, left, right = touched.shape()
    return {"out_features": written, "in1_features": left, "in2_features": right}


def _recurrent(touched: Touched) -> Values:
    values = {
        "input_size": touched.shape("weight_ih_l0")[1],
        "hidden_size": touched.shape("weight_hh_l0")[0] // _gates(touched.module),
    }
    if getattr(touched.module, "proj_size", 0):
        values["proj_size"] = touched.shape("weight_hr_l0")[0]
    return values


def _gates(module: nn.Module) -> int:
    return {"LSTM": 4, "GRU": 3}.get(str(getattr(module, "mode", "")), 1)


def _recurrent_cell(touched: Touched) -> Values:
    read, hidden = touched.shape("weight_ih")[1], touched.shape("weight_hh")[1]
    return {"input_size": read, "hidden_size": hidden}


def _attention(touched: Touched) -> Values:
    module: Any = touched.module
    if module.in_proj_weight is None:
        return {"embed_dim": touched.shape("q_proj_weight")[0]}
    written, read = touched.shape("in_proj_weight")
    heads = written // 3 // module.head_dim
    return {"embed_dim": read, "kdim": read, "vdim": read, "num_heads": heads}


def _prelu(touched: Touched) -> Values:
    return {"num_parameters": touched.shape()[0]}


def _transposed_linear(touched: Touched) -> Values:
    read, written = touched.shape()
    return {"nx": read, "nf": written}


STANDARD: tuple[tuple[type[nn.Module], SizeRule], ...] = (
    (nn.Linear, _linear),
    (_ConvNd, _convolution),
    (_NormBase, _features),
    (nn.LayerNorm, _normalized_shape),
    (nn.RMSNorm, _normalized_shape),
    (nn.GroupNorm, _group_norm),
    (nn.Embedding, _embedding),
    (nn.EmbeddingBag, _embedding),
    (nn.Bilinear, _bilinear),
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _recurrent_cell),
    (nn.MultiheadAttention, _attention),
    (nn.PReLU, _prelu),
)


def update_attributes(model: nn.Module, cuts: Sequence[TensorCut], journal: Journal) -> None:
    """Set the size attributes of every standard module to the sizes of its sliced tensors."""
    for touched in _touched(model, cuts):
        rule = _rule(touched.module)
        for name, value in (rule(touched) if rule else {}).items():
            if hasattr(touched.module, name):
                journal.set_attribute(touched.module, name, value)


def is_standard(module: nn.Module) -> bool:
    """Whether the table covers all size attributes of a module."""
    return _rule(module) is not None and next(module.parameters(), None) is not None


def _rule(module: nn.Module) -> SizeRule | None:
    for kind, rule in STANDARD:
        if isinstance(module, kind):
            return rule
    # transformers' linear layer with a transposed weight, which core does not import.
    return _transposed_linear if hasattr(module, "nf") and hasattr(module, "nx") else None


def _touched(model: nn.Module, cuts: Sequence[TensorCut]) -> Iterator[Touched]:
    found: dict[str, dict[str, TensorCut]] = defaultdict(dict)
    for cut in cuts:
        for name in cut.names:
            owner, inside = owner_of(name)
            found[owner][inside] = cut
    for owner, inside_cuts in found.items():
        yield Touched(model.get_submodule(owner), inside_cuts)


def owner_of(name: str) -> tuple[str, str]:
    """Return the path of the module that has a parameter or buffer, and its name inside."""
    # A parametrised weight lives in ``module.parametrizations.weight.original``.
    owner, _, inside = f".{name}".partition(".parametrizations.")
    if inside:
        return owner.removeprefix("."), inside
    owner, _, inside = name.rpartition(".")
    return owner, inside


@contextmanager
def following_inputs(model: nn.Module, journal: Journal) -> Iterator[None]:
    """Let norms without parameters take the size of their input while the context is open.

    Such a norm has no tensor of the group that passes through it. The comparison with the masked
    model decides whether the size is right.
    """
    sizes: dict[nn.Module, tuple[str, Any]] = {}
    handles = [
        module.register_forward_pre_hook(_follow(sizes), prepend=True)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm | nn.RMSNorm | nn.GroupNorm | _NormBase)
        and not any(True for _ in (*module.parameters(), *module.buffers()))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, (name, size) in sizes.items():
            journal.set_attribute(module, name, size)


def _follow(sizes: dict[nn.Module, tuple[str, Any]]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0] if args else None
        if isinstance(x, Tensor):
            name, size = _seen(module, x)
            if getattr(module, name) != size:
                sizes[module] = name, size
                setattr(module, name, size)

    return hook


def _seen(module: nn.Module, x: Tensor) -> tuple[str, int | tuple[int, ...] | torch.Size]:
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return "normalized_shape", tuple(x.shape[-len(module.normalized_shape) :])
    axis = 1 if x.ndim > 1 else 0
    if isinstance(module, nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d):
        axis = x.ndim - {"1d": 2, "2d": 3, "3d": 4}[type(module).__name__[-2:]]
    return ("num_channels" if isinstance(module, nn.GroupNorm) else "num_features"), x.shape[axis]
