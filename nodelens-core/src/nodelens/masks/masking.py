"""Masks that replace nodes wherever a weight reads them while the model runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map_only

from nodelens.errors import ModelError, did_you_mean
from nodelens.masks.kept_nodes import Keep, kept_nodes
from nodelens.masks.operand_products import Watch
from nodelens.masks.patches import MaskedForward, Patch, node_means
from nodelens.masks.product_hooks import watching_products
from nodelens.seeding import generator

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGraph, ChannelGroup

Replacement = Literal["zero", "mean", "resample"]


@contextmanager
def mask(
    model: nn.Module,
    graph: ChannelGraph,
    keep: Keep,
    replace: Replacement = "zero",
    means: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> Iterator[None]:
    """Replace the nodes that are not in `keep` at the inputs of every consumer, inside a context.

    Nodes are replaced after normalisation and nonlinearity. Where a module multiplies with its own
    parameters, they are replaced at these products, and then without gradients only. Parameters
    are not changed; the hooks are removed on exit, also on errors.

    Args:
        model: the model whose nodes are replaced.
        graph: the channel groups of the model.
        keep: the nodes to keep by group name, see `kept_nodes`; groups that are not named are kept
            whole.
        replace: what an ablated node reads as. ``zero`` is 0, ``mean`` its mean from `means`.
            ``resample`` is its value in another sample of the batch, in one random order for all
            sites of a forward: nodes keep their distribution and lose their relation to the sample.
        means: the mean of each node by group name, ``(nodes,)``, or of each of its components,
            ``(nodes, components)``; needed by ``mean``.
        seed: the seed of the random order of ``resample``.

    Returns:
        A context manager; the mask is active while it is open.

    Raises:
        ModelError: for groups that cannot be masked and for indices out of range.
    """
    with _masked(model, graph, [keep], replace, means, seed):
        yield


@contextmanager
def mask_batch(
    model: nn.Module,
    graph: ChannelGraph,
    keeps: Sequence[Keep],
    replace: Replacement = "zero",
    means: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> Iterator[None]:
    """Mask several keep sets in one forward, over a batch that is repeated once per keep set.

    The model is to be run on ``repeated(inputs, len(keeps))``: the batch once per keep set, one
    copy after the other along the first axis. Copy ``i`` of the outputs is what the model returns
    under ``mask(model, graph, keeps[i], …)``; a group that a keep set does not name is kept whole
    in its copy.

    Raises `ModelError` where samples are mixed (`graph.mixed`, batch normalisation in training) or
    cannot be distinguished: the batch must run along the first axis of the inputs, and the example
    that the groups were inferred on must have two samples or more.
    """
    if not keeps:
        raise ModelError("a batch of masks needs one keep set or more, got none")
    if graph.mixed:
        raise ModelError(
            f"the model mixes the copies of a batch: what its inputs have along the first axis is "
            f"{graph.mixed}; if that axis is not samples, mask one keep set at a time"
        )
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise ModelError(
                f"{path} normalises over the batch, which mixes the copies: put the model into "
                "evaluation mode, or mask one keep set at a time"
            )
    with _masked(model, graph, keeps, replace, means, seed):
        yield


def repeated(inputs: Any, copies: int) -> Any:
    """Return inputs with every tensor repeated along its first axis, one copy after the other."""
    return tree_map_only(
        Tensor, lambda tensor: tensor.repeat(copies, *[1] * (tensor.ndim - 1)), inputs
    )


@contextmanager
def _masked(
    model: nn.Module,
    graph: ChannelGraph,
    keeps: Sequence[Keep],
    replace: Replacement,
    means: Mapping[str, Tensor] | None,
    seed: int,
) -> Iterator[None]:
    if replace not in get_args(Replacement):
        hint = did_you_mean(str(replace), get_args(Replacement))
        raise ModelError(f"replace: {replace!r} is no replacement{hint}")
    if not all(isinstance(keep, Mapping) for keep in keeps):
        raise ModelError("keep must be a mapping of groups to the nodes to keep")
    if not isinstance(means, Mapping | None):
        raise ModelError(f"means: expected a mapping of groups, got {type(means).__name__}")
    donors = generator(seed, "mask", "resample") if replace == "resample" else None
    forward = MaskedForward(len(keeps), donors)
    patches: list[Patch] = []
    for name in dict.fromkeys(name for keep in keeps for name in keep):
        group = graph[name]
        kept = torch.stack([_flags(group, keep) for keep in keeps])
        patches.extend(_patches(group, kept, _fill(group, replace, means or {}), forward))
    watches = [Watch(each.site, each.at_operand) for each in patches if each.site.end == "operand"]
    handles = _attach(model, [each for each in patches if each.site.end != "operand"], forward)
    try:
        with watching_products(model, watches, graph.operators):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _flags(group: ChannelGroup, keep: Keep) -> Tensor:
    if group.name in keep:
        return kept_nodes(group, keep[group.name])
    return torch.ones(group.width, dtype=torch.bool)


def _fill(group: ChannelGroup, replace: Replacement, means: Mapping[str, Tensor]) -> Tensor:
    if replace != "mean":
        return torch.zeros(group.width)
    if group.name not in means:
        raise ModelError(f"{group.name}: replacing by the mean needs the means of its nodes")
    return node_means(group, means[group.name])


def _patches(
    group: ChannelGroup, kept: Tensor, fill: Tensor, forward: MaskedForward
) -> Iterator[Patch]:
    sites = [site for site in group.sites if site.point == "activation"]
    if not sites or group.unread:
        raise ModelError(f"{group.name} cannot be masked: {group.frozen or 'no module reads it'}")
    for site in sites:
        apart = forward.copies > 1 or (forward.generator is not None and site.end == "operand")
        if apart and site.rows is None:
            raise ModelError(
                f"{group.name}: the samples cannot be distinguished at {site.name}; if the example "
                "that the groups were inferred on has one sample, give two, else mask one keep set "
                "at a time, by zero or mean"
            )
        yield Patch(site, group, kept, fill, forward)


def _attach(model: nn.Module, patches: Sequence[Patch], forward: MaskedForward) -> list[Any]:
    places: dict[tuple[str, str], list[Patch]] = defaultdict(list)
    for patch in patches:
        places[patch.site.module, patch.site.end].append(patch)
    calls: Counter[str] = Counter()
    begin = _begin(calls, forward)
    handles: list[Any] = [model.register_forward_pre_hook(begin, with_kwargs=True)]
    for path in dict.fromkeys(path for path, _ in places):
        module = model.get_submodule(path)
        before = _before(path, places[path, "input"], calls)
        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(_after(path, places[path, "output"], calls)))
    return handles


def _begin(calls: Counter[str], forward: MaskedForward) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.clear()
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        rows = len(tensors[0]) if tensors and tensors[0].ndim else 0
        if rows % forward.copies:
            raise ModelError(
                f"the model reads {rows} samples, which are not {forward.copies} copies of a "
                "batch; run it on repeated(inputs, copies)"
            )
        forward.begin(rows)

    return hook


def _before(path: str, patches: list[Patch], calls: Counter[str]) -> Any:
    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        changed, named = list(args), dict(kwargs)
        for patch in patches:
            where = patch.site.argument
            if patch.site.call == calls[path]:
                if isinstance(where, int):
                    changed[where] = _apply(patch, changed[where])
                else:
                    named[where] = _apply(patch, named[where])
        return tuple(changed), named

    return hook


def _after(path: str, patches: list[Patch], calls: Counter[str]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        for patch in patches:
            if patch.site.call == calls[path]:
                output = _apply(patch, output)
        calls[path] += 1
        return output

    return hook


def _apply(patch: Patch, tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ModelError(f"{patch.site.name}: expected a tensor, got {type(tensor).__name__}")
    return patch.at_port(tensor)
