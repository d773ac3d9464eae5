import json

import numpy as np
import pytest

from nodelens.analyses.clusters.compute import by_size
from nodelens.analyses.clusters.options import Clusters

QUICK = {"permutations": 39, "subsets": 5, "largest": 4}


def two_clouds(size=30, metrics=3, seed=0):
    """Return metrics of nodes of which one half is low and the other high in every metric."""
    random = np.random.default_rng(seed)
    high = np.arange(size) % 2
    return {f"m{at}": {"g": 10 * high + random.normal(size=size)} for at in range(metrics)}


def noise(size=40, seed=0, mixing=None):
    random = np.random.default_rng(seed)
    values = random.normal(size=(size, 3)) @ (np.eye(3) if mixing is None else mixing)
    return {f"m{at}": {"g": values[:, at]} for at in range(3)}


@pytest.mark.parametrize("method", ["hierarchical", "kmeans"])
def test_two_clouds_are_found(scores_of, method):
    options = Clusters(method=method, **QUICK)
    finding = options.analyse(scores_of(two_clouds()), 0)
    assert finding.headline[0].startswith("g: 2 clusters of 30 nodes (silhouette 0.")
    labels = {row[2]: row[3] for row in finding.tables[1].rows}
    assert len({labels[node] for node in range(0, 30, 2)}) == 1
    assert labels[0] != labels[1]
    assert finding.plots[0].rows == ("1 (15 nodes)", "2 (15 nodes)")


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_structure(scores_of, seed):
    finding = Clusters(**QUICK).analyse(scores_of(noise(seed=seed)), 0)
    assert finding.headline[0].startswith("g: no structure among 40 nodes (silhouette")
    assert finding.plots == ()
    assert [table.name for table in finding.tables] == ["clusters_test"]
    assert finding.data["clustered"][0]["clusters"] is None


def test_correlated_metrics_without_clusters_have_no_structure(scores_of):
    mixing = np.array([[1.0, 1.0, 1.0], [0.2, 0.0, 0.0], [0.0, 0.2, 0.0]])
    finding = Clusters(**QUICK).analyse(scores_of(noise(60, mixing=mixing)), 0)
    (found,) = finding.data["clustered"]
    assert found["p_silhouette"][0] <= 0.05
    assert not found["structure"]


def test_p_values_are_never_zero(scores_of):
    (found,) = Clusters(**QUICK).analyse(scores_of(two_clouds()), 0).data["clustered"]
    assert min(*found["p_silhouette"], found["p_stability"]) == pytest.approx(1 / 40)


def test_the_same_seed_gives_the_same_finding(scores_of):
    scores = scores_of(noise())
    assert Clusters(**QUICK).analyse(scores, 3) == Clusters(**QUICK).analyse(scores, 3)


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"only": {"g": range(20)}},
        {"a": {"g": range(11)}, "b": {"g": range(11)}},
        {"a": {"g": range(20)}, "flat": {"g": [1.0] * 20}},
        {"a": {"g": range(20)}, "elsewhere": {"h": range(20)}},
    ],
)
def test_too_little_to_cluster_is_said(scores_of, metrics):
    finding = Clusters(**QUICK).analyse(scores_of(metrics), 0)
    assert finding.headline[-1].startswith("not enough to cluster (")
    assert finding.tables == ()


def test_the_group_scope_clusters_each_group(scores_of):
    small = {"h": range(5)}
    metrics = {name: {**groups, **small} for name, groups in two_clouds().items()}
    finding = Clusters(scope="group", **QUICK).analyse(scores_of(metrics), 0)
    assert finding.headline[0].startswith("g: 2 clusters")
    assert finding.headline[1].startswith("not enough to cluster (h)")


def test_all_groups_are_clustered_together_by_ranks_within_each(scores_of):
    metrics = {
        name: {"g": groups["g"], "h": 1000 + groups["g"]} for name, groups in two_clouds().items()
    }
    finding = Clusters(**QUICK).analyse(scores_of(metrics), 0)
    assert finding.headline[0].startswith("all groups: 2 clusters of 60 nodes")
    labels = {row[1:3]: row[3] for row in finding.tables[1].rows}
    assert all(labels["g", node] == labels["h", node] for node in range(30))


def test_large_sets_are_sampled(scores_of):
    finding = Clusters(nodes=20, **QUICK).analyse(scores_of(noise(50)), 0)
    assert finding.data["clustered"][0]["nodes"] == 20
    json.dumps(finding.data, allow_nan=False)


def test_identical_nodes_are_no_failure(scores_of):
    halves = [0.0] * 10 + [1.0] * 10
    finding = Clusters(**QUICK).analyse(
        scores_of({"a": {"g": halves}, "b": {"g": halves[::-1]}}), 0
    )
    assert finding.data["clustered"][0]["silhouette"] == pytest.approx(1.0)


def test_labels_are_numbered_by_size():
    assert by_size(np.array([7, 3, 3, 3, 7, 1])).tolist() == [1, 0, 0, 0, 1, 2]
