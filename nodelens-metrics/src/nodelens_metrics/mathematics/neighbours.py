"""Nearest-neighbour estimators of information, in nats (Kraskov et al. 2004, Ross 2014).

Both need samples without ties. So every sample is moved by 1e-10 of the node's standard deviation,
times a hash of the sample's key: neither the order of the samples nor the node matters. A node that
is often exactly 0 is then a mixture with a very narrow part, which both estimators handle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = 3
JITTER = 1e-10
_SLACK = 1e-15
"""Rounding error of a distance, relative to the largest value."""


def untied(x: Tensor, keys: Tensor) -> Tensor:
    """Return nodes by samples in units of their standard deviation, ties broken, float64.

    `x` is ``(samples, nodes)``; constant nodes are noise alone.
    """
    from nodelens.statistics.sample_draws import mix

    x = x.double() - x.double().mean(0)
    size = x.square().mean(0).sqrt()
    scaled = x / size.where(size > 0, size.new_tensor(1.0))
    noise = mix(keys).double() / 2.0**62 - 1.0
    return (scaled + JITTER * noise.unsqueeze(1)).T.contiguous()


def ksg_label_information(
    x: Tensor, y: Tensor, *, neighbours: int = NEIGHBOURS, keys: Tensor | None = None
) -> Tensor:
    """Return the information between every node and the label, ``(nodes,)``, at least 0.

    ψ(N) − ⟨ψ(N_class)⟩ + ψ(k) − ⟨ψ(m)⟩ with m the samples of any class within the distance to the
    k-th neighbour of the own class; an estimate can exceed the entropy of the labels. `keys` are
    the samples' numbers; classes with one sample are left out. 0 for constant nodes.
    Source: Ross 2014, 10.1371/journal.pone.0087357, eq. 2.
    """
    import torch

    from nodelens_metrics.mathematics.estimators import one_hot, some_at_once

    usable, classes = one_hot(y, at_least=2)
    keys = (torch.arange(len(x), device=x.device) if keys is None else keys)[usable]
    members = classes.T.bool()
    return some_at_once(lambda some: _label_information(some, members, neighbours, keys), x[usable])


def _label_information(x: Tensor, members: Tensor, neighbours: int, keys: Tensor) -> Tensor:
    """Return the information of some nodes; `members` is ``(classes, samples)``."""
    import torch

    from nodelens_metrics.mathematics.estimators import ascending

    points = untied(x, keys)
    everyone = ascending(points)
    total = points.new_zeros(len(points))
    for member in members:
        own = ascending(points[:, member])
        k = min(neighbours, own.shape[1] - 1)
        inside = _within(everyone, own, _distance(own, k))
        constant = torch.tensor([k, own.shape[1]]).double().digamma().tolist()
        total += own.shape[1] * (constant[0] - constant[1]) - inside.digamma().sum(1)
    samples = x.new_tensor(float(len(x)), dtype=torch.float64)
    found = (samples.digamma() + total / samples).clamp(min=0.0)
    return found.masked_fill(x.amax(0) == x.amin(0), 0.0)


def _distance(ordered: Tensor, k: int) -> Tensor:
    """Return the distance to the k-th nearest of sorted values, ``(nodes, samples)``."""
    import torch

    nearest = torch.full_like(ordered, torch.inf)
    for below in range(k + 1):
        left = ordered.roll(below, 1)
        right = ordered.roll(below - k, 1)
        left[:, :below] = -torch.inf
        right[:, ordered.shape[1] - (k - below) :] = torch.inf
        nearest = nearest.minimum((ordered - left).maximum(right - ordered))
    return nearest


def _within(everyone: Tensor, centre: Tensor, distance: Tensor) -> Tensor:
    """Return how many of sorted values lie closer than `distance`, the point itself included."""
    import torch

    slack = _SLACK * everyone.abs().amax(1, keepdim=True)
    radius = (distance - slack).clamp(min=0.0)
    upper = torch.searchsorted(everyone, centre + radius, right=True)
    lower = torch.searchsorted(everyone, centre - radius)
    return (upper - lower).clamp(min=1).double()


def ksg_information(
    x: Tensor, y: Tensor, *, neighbours: int = NEIGHBOURS, keys: Tensor | None = None
) -> Tensor:
    """Return the information between the columns of x and of y, ``(nodes,)``, at least 0.

    ψ(k) + ψ(N) − ⟨ψ(n_x + 1) + ψ(n_y + 1)⟩, n the number of samples closer in one coordinate than
    the k-th neighbour in the larger of both. Source: Kraskov et al. 2004, cond-mat/0305641, eq. 8
    (algorithm 1). Both are ``(samples, nodes)``; 0 where one is constant or there are not more
    samples than neighbours.
    """
    import torch

    keys = torch.arange(len(x), device=x.device) if keys is None else keys
    left, right = untied(x, keys), untied(y, keys + 2**40)
    constant = (x.amax(0) == x.amin(0)) | (y.amax(0) == y.amin(0))
    if len(x) <= neighbours:
        return left.new_zeros(len(left))
    found = [
        0.0 if fixed else _pair_information(a, b, neighbours)
        for a, b, fixed in zip(left, right, constant.tolist(), strict=True)
    ]
    return left.new_tensor(found).clamp(min=0.0)


def _pair_information(x: Tensor, y: Tensor, k: int) -> float:
    import torch
    from scipy.spatial import cKDTree

    points = torch.stack([x, y], dim=1)
    array = points.cpu().numpy()
    distance = cKDTree(array).query(array, k=k + 1, p=float("inf"))[0][:, k]
    radius = torch.as_tensor(distance).to(x)
    total = x.new_zeros(())
    for values in (x, y):
        ordered = values.sort().values
        total += _within(ordered[None], values[None], radius[None])[0].digamma().mean()
    constants = torch.tensor([k, len(x)]).double().digamma().sum()
    return float(constants - total.cpu())
