"""Information estimators on arrays, in nats: Gaussian, copula and binned, with their biases.

Plain functions for metrics, benchmarks and users. `x` is ``(samples, nodes)``, `y` the label of
every sample, ``(samples,)`` of integers; results are ``(nodes,)`` float64. Samples count as
independent, and no result depends on their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from nodelens.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

BINS = 8
"""Number of bins for a node's values, of about equally many samples."""

FLOOR = 0.75
"""The least variance of a class, as a fraction of the mean variance within classes."""

AT_ONCE = 2**20
"""Entries of a table of nodes by samples in memory at once."""


def some_at_once(
    work: Callable[[Tensor], Tensor], x: Tensor, each: int = 1, components: int = 1
) -> Tensor:
    """Return `work` of x ``(samples, nodes)``, a result per node, for some nodes at a time.

    `each` is how many numbers the work holds for each of x; so many `components` stay together.
    """
    import torch

    step = max(1, AT_ONCE // max(1, len(x) * each * components)) * components
    return torch.cat([work(part) for part in torch.split(x, step, dim=1)], dim=-1)


def gaussian_entropy_bias(variables: int, samples: Tensor | float) -> Tensor:
    """Return the bias of the entropy of a Gaussian sample: β(d, N), not positive.

    The entropy is computed from the covariance with divisor N − 1. Finite for more samples than
    variables, −∞ or NaN otherwise. Source: the bias term of Ince et al. 2017, 10.1002/hbm.23471,
    β(d, N) = ½ [d log(2/(N − 1)) + Σ_k ψ((N − k)/2)], k = 1…d.
    """
    import torch

    count = torch.as_tensor(samples, dtype=torch.float64).unsqueeze(-1)
    steps = torch.arange(1, variables + 1, dtype=torch.float64, device=count.device)
    psi = ((count - steps) / 2).digamma().sum(-1)
    return 0.5 * (variables * (2 / (count.squeeze(-1) - 1)).log() + psi)


def gaussian_information_bias(left: int, right: int, samples: Tensor | float) -> Tensor:
    """Return the bias of the information between two Gaussian vectors: about dₗdᵣ/2N.

    β(dₗ) + β(dᵣ) − β(dₗ + dᵣ); 0 with too few samples.
    """
    import torch

    parts = [gaussian_entropy_bias(d, samples) for d in (left, right, left + right)]
    return torch.nan_to_num(parts[0] + parts[1] - parts[2], nan=0.0, posinf=0.0, neginf=0.0)


def average_ranks(x: Tensor) -> Tensor:
    """Return the rank of every sample among its node's samples, from 1; ties get the mean."""
    import torch

    ordered, order = x.T.contiguous().sort(dim=1)
    place = torch.arange(len(x), dtype=torch.float64, device=x.device).expand_as(ordered)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = place.where(new, 0.0).cummax(1).values
    ends = torch.ones_like(new)
    ends[:, :-1] = new[:, 1:]
    last = place.where(ends, float(len(x))).flip(1).cummin(1).values.flip(1)
    return torch.empty_like(first).scatter_(1, order, (first + last) / 2 + 1).T


def normal_scores(x: Tensor) -> Tensor:
    """Return x with Gaussian margins, Φ⁻¹(rank / (N + 1)), ``(samples, nodes)`` float64.

    Ties get their mean rank, so that neither their order nor noise matters. Source: Ince et al.
    2017, 10.1002/hbm.23471, copula normalisation.
    """
    import torch

    def scores(some: Tensor) -> Tensor:
        found: Tensor = torch.special.ndtri(average_ranks(some) / (len(some) + 1))
        return found

    return some_at_once(scores, x)


def one_hot(y: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    """Return a mask of samples with a usable label and their classes, ``(usable, classes)``.

    The classes are one-hot, float64. A class is usable with `at_least` samples; labels below 0 do
    not count. Raises `NotApplicableError` with fewer than two usable classes.
    """
    labels = (y[y >= 0].bincount() >= at_least).nonzero().flatten()
    if len(labels) < 2:
        raise NotApplicableError(
            f"fewer than two classes have {at_least} or more calibration rows; calibrate on more"
        )
    member = y.unsqueeze(1) == labels
    usable = member.any(1)
    return usable, member[usable].double()


def label_information(x: Tensor, y: Tensor, *, bins: int = BINS, correct: bool = True) -> Tensor:
    """Return the information between the binned value of every node and the label.

    Bins hold about N/bins samples each; equal values share a bin, so that a node that is often 0
    has a large bin. Corrected after Miller and Madow by (K_xy − K_x − K_y + 1)/2N with K the cells
    that occur; within [0, H(y)], 0 for constant nodes. Samples labelled below 0 do not count.
    Raises `NotApplicableError` with fewer than two classes.
    """
    usable, classes = one_hot(y, at_least=1)
    label, entropy = classes.argmax(1), _surprise(classes.mean(0))
    found = some_at_once(lambda some: _binned_information(some.T, label, bins, correct), x[usable])
    return found.clamp(min=0.0).clamp(max=float(entropy))


def binned(x: Tensor, bins: int) -> Tensor:
    """Return the bin of every sample, ``(nodes, samples)`` int64, of x ``(nodes, samples)``."""
    import torch

    x = x.contiguous()
    ordered = ascending(x)
    found = torch.zeros(x.shape, dtype=torch.uint8, device=x.device)
    for number in range(1, bins):
        edge = ordered[:, x.shape[1] * number // bins, None]
        found += x >= edge
    return found.long()


def ascending(x: Tensor) -> Tensor:
    """Return the rows of x sorted; on a processor by numpy, which takes a fifth of the time."""
    import numpy as np
    import torch

    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return x.sort(dim=1).values
    return torch.from_numpy(np.sort(x.detach().numpy(), axis=1))


def _binned_information(x: Tensor, label: Tensor, bins: int, correct: bool) -> Tensor:
    import torch

    nodes, samples = x.shape
    classes = int(label.max()) + 1
    cell = binned(x, bins) * classes + label
    cell += torch.arange(nodes, device=x.device).unsqueeze(1) * (bins * classes)
    joint = cell.flatten().bincount(minlength=nodes * bins * classes)
    joint = joint.view(nodes, bins, classes).double()
    tables = (joint.sum(2), joint.sum(1), joint.flatten(1))
    of_x, of_y, of_both = (_surprise(table / samples) for table in tables)
    kinds = [(table > 0).double().sum(1) for table in tables]
    bias = (kinds[2] - kinds[0] - kinds[1] + 1) / (2 * samples)
    return of_x + of_y - of_both - (bias if correct else 0.0)


def _surprise(fraction: Tensor) -> Tensor:
    """Return the entropy of the last axis."""
    import torch

    terms: Tensor = torch.special.xlogy(fraction, fraction)
    return -terms.sum(-1)


def gaussian_label_information(x: Tensor, y: Tensor, *, shared_variance: bool = True) -> Tensor:
    """Return the information between every node and the label, Gaussian within each class.

    With one variance for all classes, or one by class that is at least 3/4 of the pooled one.
    Within [0, H(y)], 0 for constant nodes; classes with fewer than two samples are left out.
    Source: Ince et al. 2017, 10.1002/hbm.23471, Gaussian model with discrete classes: ½ log s² −
    Σ_c p_c ½ log s_c², minus β(1, N) − Σ_c p_c β(1, N_c).
    """
    usable, classes = one_hot(y, at_least=2)
    x = x[usable].double()
    count = classes.sum(0)
    rows, kinds = len(x), len(count)
    centred = x - x.mean(0)
    total = centred.square().sum(0)
    live = (total > 0) & (x.amax(0) > x.amin(0))
    scale = total.where(live, total.new_tensor(1.0))
    means = classes.T @ centred / count.unsqueeze(1)
    squares = (classes.T @ centred.square() - count.unsqueeze(1) * means.square()).clamp(min=0.0)
    pooled = squares.sum(0).maximum(2.0**-40 * scale) / (rows - kinds)
    fraction = (count / rows).unsqueeze(1)
    if shared_variance:
        inside = _log_std(pooled, x.new_tensor(float(rows - kinds)))
    else:
        dof = (count - 1).unsqueeze(1)
        inside = (fraction * _log_std((squares / dof).maximum(FLOOR * pooled), dof)).sum(0)
    outside = _log_std(scale / (rows - 1), x.new_tensor(float(rows - 1)))
    bounded = (outside - inside).clamp(0.0, float(_surprise(fraction.flatten())))
    return bounded.masked_fill(~live, 0.0)


def _log_std(variance: Tensor, dof: Tensor) -> Tensor:
    """Return ½ log s² minus its bias, s² a sample variance with `dof` degrees of freedom."""
    return 0.5 * variance.log() - gaussian_entropy_bias(1, dof + 1)


def copula_label_information(x: Tensor, y: Tensor, *, shared_variance: bool = True) -> Tensor:
    """Return `gaussian_label_information` of the normal scores of the samples with a label."""
    usable, _ = one_hot(y, at_least=2)
    scores = normal_scores(x[usable])
    return gaussian_label_information(scores, y[usable], shared_variance=shared_variance)


def copula_information(x: Tensor, y: Tensor, *, noise: float = 1e-6) -> Tensor:
    """Return the Gaussian-copula information between every node and numbers y ``(samples,)``.

    −½ log(1 − ρ²) of the normal scores, each with noise of relative variance `noise`, minus the
    bias, at least 0; 0 for constants. Source: Ince et al. 2017, 10.1002/hbm.23471, Gaussian copula
    information of two continuous variables.
    """
    import torch

    from nodelens_metrics.mathematics.pairwise import information

    scores = normal_scores(torch.cat([x.double(), y.double().unsqueeze(1)], dim=1))
    whitened = standardised(scores)
    rho = (whitened.T @ whitened[:, -1])[:-1].clamp(-1.0, 1.0)
    found = information(rho / (1.0 + noise)) - gaussian_information_bias(1, 1, len(x))
    return found.clamp(min=0.0)


def standardised(x: Tensor) -> Tensor:
    """Return z with zᵀz the correlations of x, ``(samples, nodes)``; constants become zeros."""
    centred = x - x.mean(0)
    size = centred.square().sum(0).sqrt()
    live = (size > 0) & (x.amax(0) > x.amin(0))
    return centred / size.where(live, size.new_tensor(1.0)) * live


def class_samples(x: Tensor, y: Tensor, at_least: int) -> Iterator[tuple[float, Tensor]]:
    """Yield each usable class's fraction of the samples and its samples, ``(samples, nodes)``."""
    usable, classes = one_hot(y, at_least)
    x = x[usable]
    for member in classes.T:
        yield float(member.mean()), x[member > 0]
