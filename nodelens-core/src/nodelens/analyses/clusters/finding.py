"""Clusters of nodes as a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from nodelens.analyses.clusters.compute import Tested, cluster_and_test
from nodelens.analyses.ranks import (
    counted_once,
    directed,
    equality_note,
    rank_fractions,
    shown_name,
)
from nodelens.findings.finding import Finding, Heatmap, Table
from nodelens.seeding import derive_seed

if TYPE_CHECKING:
    from nodelens.analyses.clusters.options import Clusters
    from nodelens.scoring.scores import Scores

_FEWEST = 12
_TEST_NOTE = (
    "Silhouette: -1 to 1, higher is better separated. Stability: mean adjusted Rand index over "
    "subsets of 80 % of the nodes, 1 for always the same clusters. p: (b + 1) / (m + 1) against "
    "metrics permuted within groups (independent) and against one cloud with the same rank "
    "correlations (correlated); the stability against the former."
)


@frozen(eq=False)
class Nodes:
    """Nodes as points of their ranks by metric: `points` ``(nodes, metrics)``, in (0, 1)."""

    name: str
    metrics: tuple[str, ...]
    points: NDArray[np.float64]
    group: NDArray[np.int64]
    node: NDArray[np.int64]
    groups: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def clusters(options: Clusters, scores: Scores, seed: int) -> Finding:
    """Return the clusters of the nodes, all together or group by group, as a finding."""
    scores, equal = counted_once(scores)
    apart = [(group,) for group in scores.groups]
    sets = [scores.whole_groups] if options.scope == "overall" else apart
    everything = [_nodes(scores, groups) for groups in sets if groups]
    enough = [_at_most(each, options.nodes, seed) for each in everything if _enough(each)]
    found = [
        (each, cluster_and_test(options, each.points, each.group, derive_seed(seed, each.name)))
        for each in enough
    ]
    held = [(each, tested) for each, tested in found if tested.structure]
    small = [each for each in everything if not _enough(each)]
    return Finding(
        kind="analysis",
        name="clusters",
        title="Clusters of nodes",
        headline=tuple(_headline(found, small)),
        tables=(
            *([_test_table(found, equality_note(equal))] if found else []),
            *([_node_table(held)] if held else []),
        ),
        plots=tuple(_profile(each, tested) for each, tested in held),
        data={
            "clustered": [_data(each, tested) for each, tested in found],
            "equal": [list(names) for names in equal],
            "not_enough": [each.name for each in small],
            "left_out": sorted({name for each in everything for name in each.left_out}),
        },
    )


def _nodes(scores: Scores, groups: Sequence[str]) -> Nodes:
    """Return the nodes of `groups` by the metrics that score all of them and vary somewhere."""
    columns, names, left_out = [], [], []
    for metric in scores.metrics:
        there = [scores[metric, group] for group in groups if (metric, group) in scores]
        varies = any(np.ptp(score.values) > 0 for score in there)
        if len(there) == len(groups) and varies:
            columns.append(np.concatenate([rank_fractions(directed(score)) for score in there]))
            names.append(shown_name(there[0]))
        else:
            left_out.append(metric)
    widths = [len(next(s for s in scores if s.group == group).values) for group in groups]
    return Nodes(
        name=groups[0] if len(groups) == 1 else "all groups",
        metrics=tuple(names),
        points=np.stack(columns, axis=1) if columns else np.zeros((sum(widths), 0)),
        group=np.repeat(np.arange(len(groups)), widths),
        node=np.concatenate([np.arange(width) for width in widths]),
        groups=tuple(groups),
        left_out=tuple(left_out),
    )


def _enough(nodes: Nodes) -> bool:
    return len(nodes.metrics) >= 2 and len(nodes.points) >= _FEWEST


def _at_most(nodes: Nodes, count: int, seed: int) -> Nodes:
    """Return a random sample of `count` nodes where there are more."""
    if len(nodes.points) <= count:
        return nodes
    random = np.random.default_rng(derive_seed(seed, "clusters", "sample", nodes.name))
    chosen = np.sort(random.choice(len(nodes.points), count, replace=False))
    return evolve(
        nodes, points=nodes.points[chosen], group=nodes.group[chosen], node=nodes.node[chosen]
    )


def _headline(found: Sequence[tuple[Nodes, Tested]], small: Sequence[Nodes]) -> Iterator[str]:
    for nodes, tested in found:
        best = tested.clustering
        numbers = (
            f"silhouette {best.silhouette:.2f}, p = {max(tested.p_silhouette):.3f}; "
            f"stability {tested.stability:.2f}, p = {tested.p_stability:.3f}"
        )
        if tested.structure:
            yield f"{nodes.name}: {best.count} clusters of {len(nodes.points)} nodes ({numbers})"
        else:
            yield f"{nodes.name}: no structure among {len(nodes.points)} nodes ({numbers})"
    if small or not found:
        names = ", ".join(each.name for each in small) or "no group is scored"
        yield (
            f"not enough to cluster ({names}): it takes two metrics that score all nodes and vary, "
            f"and {_FEWEST} nodes"
        )


def _test_table(found: Sequence[tuple[Nodes, Tested]], equal: str) -> Table:
    columns = (
        "nodes of",
        "nodes",
        "metrics",
        "best number",
        "silhouette",
        "p (independent)",
        "p (correlated)",
        "stability",
        "stability p",
        "structure",
    )
    rows = tuple(
        (
            nodes.name,
            len(nodes.points),
            len(nodes.metrics),
            tested.clustering.count,
            tested.clustering.silhouette,
            *tested.p_silhouette,
            tested.stability,
            tested.p_stability,
            tested.structure,
        )
        for nodes, tested in found
    )
    return Table("clusters_test", "Are there clusters?", columns, rows, _TEST_NOTE + equal)


def _node_table(held: Sequence[tuple[Nodes, Tested]]) -> Table:
    rows = tuple(
        (nodes.name, nodes.groups[group], node, label + 1)
        for nodes, tested in held
        for group, node, label in zip(
            nodes.group.tolist(),
            nodes.node.tolist(),
            tested.clustering.labels.tolist(),
            strict=True,
        )
    )
    columns = ("nodes of", "group", "node", "cluster")
    return Table("clusters_nodes", "The cluster of every node", columns, rows)


def _profile(nodes: Nodes, tested: Tested) -> Heatmap:
    labels = tested.clustering.labels
    members = [labels == label for label in range(tested.clustering.count)]
    return Heatmap(
        name=f"clusters_{nodes.name}",
        title=f"Mean rank of every metric by cluster ({nodes.name})",
        rows=tuple(f"{at + 1} ({int(m.sum())} nodes)" for at, m in enumerate(members)),
        columns=nodes.metrics,
        values=tuple(tuple(nodes.points[m].mean(axis=0).tolist()) for m in members),
        note="Ranks of importance within the group: 0 is the lowest, 1 the highest.",
        limits=(0.0, 1.0),
    )


def _data(nodes: Nodes, tested: Tested) -> dict[str, object]:
    return {
        "name": nodes.name,
        "metrics": list(nodes.metrics),
        "nodes": len(nodes.points),
        "structure": tested.structure,
        "clusters": tested.clustering.count if tested.structure else None,
        "silhouette": tested.clustering.silhouette,
        "stability": tested.stability,
        "p_silhouette": list(tested.p_silhouette),
        "p_stability": tested.p_stability,
    }
