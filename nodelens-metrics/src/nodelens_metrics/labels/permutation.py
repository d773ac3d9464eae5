"""Significance of a node's information about the label, by permutation of the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.labelled_rows import labelled_rows, samples_of
from nodelens_metrics.mathematics.second_moments import INVARIANCES

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

Estimator = Literal["binned", "copula", "gaussian"]
AT_ONCE = 2**22


@frozen
class LabelSignificance:
    """P-value of a node's information about the label, by permutation of the labels.

    Fraction of label permutations with at least the information of the data's own labels. These
    count as one permutation, so that the value is never 0. All nodes have the same permutations,
    fixed by `seed`. 1 for dead and constant nodes. Many nodes are many tests: of unrelated nodes,
    one in twenty is below 0.05. There is no standard error: a p-value is about one sample.

    Attributes:
        estimator: information of binned values, of normal scores, or of the values as Gaussians.
        permutations: label permutations; the smallest p-value is 1/(permutations + 1).
        bins: number of bins of the estimator binned, 2 to 255.
        seed: seed of the permutations.
    """

    info = MetricInfo(
        formula=(
            "(b + 1)/(m + 1), b of m permutations with I ≥ that of the data, added over components"
        ),
        unit="1",
        higher_is_better=False,
        source="Phipson & Smyth 2010, 10.2202/1544-6115.1585",
        dead_nodes="lowest",
        invariances=INVARIANCES,
        no_interval="a p-value is about one sample",
    )

    estimator: Estimator = field(
        default="binned", validator=validators.in_(("binned", "copula", "gaussian"))
    )
    permutations: int = field(default=199, validator=validators.ge(1))
    bins: int = field(default=8, validator=[validators.ge(2), validators.le(255)])
    samples: int = options.samples()
    seed: int = 0

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens.seeding import generator

        values, labels, _ = samples_of(group, self.samples)
        random = generator(self.seed, "nodelens_metrics", "permutation")
        return label_p_values(
            values,
            labels,
            random,
            self.permutations,
            estimator=self.estimator,
            bins=self.bins,
            components=group.components,
        )


def label_p_values(
    x: Tensor,
    y: Tensor,
    random: Any,
    permutations: int = 199,
    *,
    estimator: Estimator = "binned",
    bins: int = 8,
    components: int = 1,
) -> Tensor:
    """Return (b + 1)/(m + 1) for every node of x ``(samples, nodes)`` and labels y, ``(nodes,)``.

    A node may have several `components`, side by side, whose information is added. Permuting labels
    changes neither the margins nor their entropies. So −H(bin, label) is compared, or the variance
    between classes, in which both Gaussian estimates increase.
    """
    import torch

    from nodelens_metrics.mathematics.estimators import one_hot, some_at_once

    usable, classes = one_hot(y, at_least=1)
    rows = len(classes)
    orders = [torch.randperm(rows, generator=random) for _ in range(permutations)]
    shuffles = torch.stack([torch.arange(rows), *orders], dim=1).to(x.device)

    def p_values(some: Tensor) -> Tensor:
        features = _features(some.double(), estimator, bins)
        return _p_values(features, classes, shuffles, estimator, some.shape[1] // components)

    each = bins if estimator == "binned" else 1
    return some_at_once(p_values, x[usable], each, components)


def _features(x: Tensor, estimator: Estimator, bins: int) -> Tensor:
    """Return the values to be summed over the samples of a class, ``(samples, features)``."""
    from nodelens_metrics.mathematics.estimators import normal_scores, standardised

    if estimator == "binned":
        return _bin_members(x, bins)
    return standardised(normal_scores(x) if estimator == "copula" else x)


def _p_values(
    features: Tensor, classes: Tensor, shuffles: Tensor, estimator: Estimator, nodes: int
) -> Tensor:
    """Return the p-values; the first of `shuffles`, ``(samples, orders)``, is the data's order."""
    import torch

    count, found = classes.sum(0), []
    step = max(1, AT_ONCE // (max(features.shape) * len(count)))
    for some in torch.split(shuffles, step, dim=1):
        sums = features.T @ classes[some].flatten(1)
        found.append(_strength(sums, count, nodes, estimator))
    strength = torch.cat(found, dim=1)
    own = strength[:, :1]
    return (strength >= own - 1e-9 * own.abs()).double().mean(1)


def _bin_members(x: Tensor, bins: int) -> Tensor:
    """Return which samples lie in each bin of each node, ``(samples, nodes · bins)`` float64."""
    import torch

    from nodelens_metrics.mathematics.estimators import binned

    places = torch.arange(bins, device=x.device)
    return (binned(x.T, bins).T.unsqueeze(2) == places).flatten(1).double()


def _strength(sums: Tensor, count: Tensor, nodes: int, estimator: Estimator) -> Tensor:
    """Return a value that increases with the information, ``(nodes, permutations)``.

    `sums` are sums of every feature over every class of every permutation.
    """
    import torch

    sums = sums.view(nodes, -1, sums.shape[1] // len(count), len(count))
    if estimator == "binned":
        terms: Tensor = torch.special.xlogy(sums, sums)
        return terms.sum((1, 3))
    return (sums.square() / count).sum((1, 3))
