"""Clustering of nodes, with silhouette, stability, and reference draws without clusters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from nodelens.seeding import derive_seed

if TYPE_CHECKING:
    from nodelens.analyses.clusters.options import Clusters

_SUBSET = 0.8


@frozen(eq=False)
class Clustering:
    """A clustering by its labels, which count from 0, the largest cluster first."""

    labels: NDArray[np.int64]
    silhouette: float

    @property
    def count(self) -> int:
        """The number of clusters; 1 where the points cannot be divided."""
        return int(self.labels.max()) + 1


@frozen(eq=False)
class Tested:
    """A clustering with its stability and p-values; `structure` says whether there are clusters.

    `p_silhouette` is against independent and against correlated metrics. The stability is compared
    with independent metrics only: one elongated cloud is split in the same place every time, too.
    """

    clustering: Clustering
    stability: float
    p_silhouette: tuple[float, float]
    p_stability: float

    @property
    def structure(self) -> bool:
        """Whether silhouette and stability beat their references at p <= 0.05."""
        return max(*self.p_silhouette, self.p_stability) <= 0.05


def cluster_and_test(
    options: Clusters, points: NDArray[np.float64], groups: NDArray[np.int64], seed: int
) -> Tested:
    """Cluster `points`, ``(nodes, metrics)``, and compare with draws that have no clusters.

    `groups`, ``(nodes,)``, numbers the group of each node: draws keep every metric's values in it.
    """
    random = np.random.default_rng(derive_seed(seed, "clusters"))
    found = best_clustering(options, points, random)
    steady = stability(options, points, found, random)
    silhouettes, stabilities = [], []
    for draw in _permuted(points, groups, options.permutations, random):
        reference = best_clustering(options, draw, random)
        silhouettes.append(reference.silhouette)
        stabilities.append(stability(options, draw, reference, random))
    correlated = [
        best_clustering(options, draw, random).silhouette
        for draw in _correlated(points, groups, options.permutations, random)
    ]
    p_silhouette = (_p(found.silhouette, silhouettes), _p(found.silhouette, correlated))
    return Tested(found, steady, p_silhouette, _p(steady, stabilities))


def _p(value: float, reference: Sequence[float]) -> float:
    return (1 + sum(each >= value for each in reference)) / (1 + len(reference))


def best_clustering(
    options: Clusters, points: NDArray[np.float64], random: np.random.Generator
) -> Clustering:
    """Return the clustering with the number of clusters that has the largest silhouette."""
    distances = squareform(pdist(points))
    best, highest = np.zeros(len(points), dtype=np.int64), -1.0
    for labels in _clusterings(options, points, random, range(2, options.largest + 1)):
        silhouette = _silhouette(distances, labels)
        if silhouette > highest:
            best, highest = labels, silhouette
    return Clustering(by_size(best), highest)


def stability(
    options: Clusters,
    points: NDArray[np.float64],
    found: Clustering,
    random: np.random.Generator,
) -> float:
    """Return the mean adjusted Rand index with clusterings of random subsets of the nodes."""
    size = round(_SUBSET * len(points))
    agreements = []
    for _ in range(options.subsets if found.count > 1 else 0):
        subset = random.choice(len(points), size, replace=False)
        for again in _clusterings(options, points[subset], random, [found.count]):
            agreements.append(adjusted_rand_score(found.labels[subset], again))
    return float(np.mean(agreements)) if agreements else 0.0


def by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels renumbered from 0, the largest cluster first."""
    values, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.arange(len(values))
    renumbered: NDArray[np.int64] = place[inverse]
    return renumbered


def _clusterings(
    options: Clusters,
    points: NDArray[np.float64],
    random: np.random.Generator,
    counts: Sequence[int],
) -> Iterator[NDArray[np.int64]]:
    """Yield the labels for every number of clusters that has at least two distinct points."""
    distinct = len(np.unique(points, axis=0))
    usable = [count for count in counts if count <= distinct]
    if options.method == "hierarchical":
        tree = linkage(points, method="ward")
        for count in usable:
            yield fcluster(tree, count, criterion="maxclust").astype(np.int64)
        return
    for count in usable:
        state = int(random.integers(2**31))
        yield KMeans(count, n_init=4, random_state=state).fit_predict(points).astype(np.int64)


def _silhouette(distances: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    if not 2 <= len(np.unique(labels)) < len(labels):
        return -1.0
    return float(silhouette_score(distances, labels, metric="precomputed"))


def _permuted(
    points: NDArray[np.float64],
    groups: NDArray[np.int64],
    draws: int,
    random: np.random.Generator,
) -> Iterator[NDArray[np.float64]]:
    """Yield points with every metric permuted within groups: nothing relates the metrics."""
    for _ in range(draws):
        draw = points.copy()
        for members in _members(groups):
            draw[members] = random.permuted(points[members], axis=0)
        yield draw


def _correlated(
    points: NDArray[np.float64],
    groups: NDArray[np.int64],
    draws: int,
    random: np.random.Generator,
) -> Iterator[NDArray[np.float64]]:
    """Yield points of a Gaussian copula with the points' correlations: one elongated cloud.

    Every metric keeps its values in each group; only which node has which value is drawn.
    """
    factors = [(members, _root(points[members])) for members in _members(groups)]
    for _ in range(draws):
        draw = np.empty_like(points)
        for members, root in factors:
            normal = random.standard_normal((len(members), points.shape[1])) @ root
            places = normal.argsort(axis=0).argsort(axis=0)
            draw[members] = np.take_along_axis(np.sort(points[members], axis=0), places, axis=0)
        yield draw


def _members(groups: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(groups == group) for group in np.unique(groups)]


def _root(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a root of the copula's correlations, ``2 sin(pi r / 6)`` of rank correlations."""
    centred = points - points.mean(axis=0)
    norms = np.sqrt((centred**2).sum(axis=0))
    unit = centred / np.where(norms > 0, norms, 1.0)
    correlations = 2 * np.sin(np.pi / 6 * (unit.T @ unit))
    values, vectors = np.linalg.eigh(correlations)
    root: NDArray[np.float64] = vectors * np.sqrt(np.clip(values, 0.0, None)) @ vectors.T
    return root
