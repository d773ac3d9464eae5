import json

import numpy as np
import pytest

import nodelens_pruning
from nodelens.errors import CaptureError, UnknownNameError
from nodelens.testing import failures
from nodelens.testing.pruner_checks import check_pruner
from nodelens_pruning.methods import MagnitudePruner, RandomPruner, ScorePruner, TaylorPruner

A, B = "0:neurons", "2:neurons"
RAMP = {A: np.arange(12), B: np.arange(7)}


METHODS = [
    MagnitudePruner(),
    MagnitudePruner(sparsity=0.3, allocation="global", repair="mean_bias"),
    TaylorPruner(),
    TaylorPruner(sparsity=0.7, allocation="standardised"),
    RandomPruner(),
    RandomPruner(allocation="global"),
    ScorePruner(metric="any"),
]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_method_passes_the_kit(method):
    assert failures(check_pruner(method)) == []


@pytest.mark.parametrize(
    ("method", "metrics"),
    [
        (MagnitudePruner(), ("nodelens-metrics:weight_l1",)),
        (TaylorPruner(), ("nodelens-metrics:taylor",)),
        (RandomPruner(), ()),
        (ScorePruner(metric="rayleigh_quotient"), ("rayleigh_quotient",)),
    ],
)
def test_methods_ask_for_their_metric(method, metrics):
    assert method.metrics() == metrics


def test_the_lowest_scores_go(request_with):
    plan = MagnitudePruner(sparsity=0.5).plan(request_with({"weight_l1": RAMP}))
    assert plan.keep[A] == tuple(range(6, 12))
    assert plan.keep[B] in ((3, 4, 5, 6), (4, 5, 6))
    assert plan.data["sparsity_asked"] == 0.5
    assert plan.data["removed"] == 10
    assert plan.data["sparsity"] == plan.data["sparsity_of_prunable"] == 10 / 19
    json.dumps(plan.data, allow_nan=False)


def test_the_direction_of_the_metric_counts(request_with):
    plan = ScorePruner(metric="m").plan(request_with({"m": RAMP}, high=False))
    assert plan.keep[A] == tuple(range(6))


def test_a_metric_without_direction_is_refused(request_with):
    with pytest.raises(UnknownNameError, match="describes nodes without saying which to keep"):
        ScorePruner(metric="m").plan(request_with({"m": RAMP}, high=None))


def test_what_cannot_be_pruned_is_noted_with_the_reason(request_with):
    plan = TaylorPruner().plan(request_with({"taylor": RAMP}))
    assert "4:neurons is kept whole; cannot be pruned: model output" in plan.notes


def test_protected_groups_stay_whole_and_are_noted(request_with):
    plan = TaylorPruner(protect=("0:*",)).plan(request_with({"taylor": RAMP}))
    assert set(plan.keep) == {B}
    assert "0:neurons is kept whole; protected by '0:*'" in plan.notes
    assert (plan.data["eligible"], plan.data["prunable"]) == (7, 19)


def test_a_pattern_without_a_match_is_an_error_with_the_closest_name(request_with):
    with pytest.raises(UnknownNameError, match="'0:neuron'; did you mean '0:neurons'"):
        TaylorPruner(protect=("0:neuron",)).plan(request_with({"taylor": RAMP}))


def test_a_group_that_the_metric_skipped_stays_whole(request_with):
    request = request_with({"m": {A: RAMP[A]}}, skipped={("m", B): "no activation site"})
    plan = ScorePruner(metric="m").plan(request)
    assert set(plan.keep) == {A}
    assert "2:neurons is kept whole; m: no activation site" in plan.notes


def test_no_score_at_all_is_an_error_with_the_reasons(request_with):
    request = request_with({}, failed={"m": "0:neurons: ValueError: broken"})
    with pytest.raises(CaptureError, match=r"nothing to prune: .*m failed: 0:neurons: ValueError"):
        ScorePruner(metric="m").plan(request)


def test_a_minimum_that_stops_the_pruning_is_noted(request_with):
    plan = TaylorPruner(sparsity=0.9, min_nodes=4).plan(request_with({"taylor": RAMP}))
    assert {name: len(nodes) for name, nodes in plan.keep.items()} == {A: 4, B: 4}
    assert (
        plan.notes[0]
        == "11 nodes are pruned where sparsity 0.9 requests 17: at least 4 of every group are kept"
    )


def test_what_stays_is_a_multiple_where_it_is_asked_for(request_with):
    free = TaylorPruner(sparsity=0.5).plan(request_with({"taylor": RAMP}))
    plan = TaylorPruner(sparsity=0.5, round_to={"*": 3, B: 4}).plan(request_with({"taylor": RAMP}))
    for name, step in ((A, 3), (B, 4)):
        stay, least = len(plan.keep[name]), len(free.keep[name])
        assert stay % step == 0 or stay == plan.data["groups"][name]["width"]
        assert least <= stay < least + step
    assert "and multiples as requested" in plan.notes[0]
    whole = TaylorPruner(sparsity=0.5, round_to={A: 1000}).plan(request_with({"taylor": RAMP}))
    assert f"{A} is kept whole; no smaller width that keeps enough is a multiple of 1000" in (
        whole.notes
    )
    assert hash(TaylorPruner(round_to={"*": 8})) == hash(TaylorPruner())
    with pytest.raises(UnknownNameError, match=r"round_to: no channel group matches 'mlp\*'"):
        TaylorPruner(round_to={"mlp*": 8}).plan(request_with({"taylor": RAMP}))


@pytest.mark.parametrize(("repair", "replace"), [("none", "zero"), ("mean_bias", "mean")])
def test_the_repair_says_what_is_read_instead(request_with, repair, replace):
    plan = MagnitudePruner(repair=repair).plan(request_with({"weight_l1": RAMP}))
    assert plan.replace == replace


def test_random_differs_by_seed(request_with):
    kept = [RandomPruner().plan(request_with({}, seed=seed)).keep[A] for seed in range(4)]
    assert len(set(kept)) > 1


@pytest.mark.parametrize("method", [MagnitudePruner, TaylorPruner, RandomPruner])
@pytest.mark.parametrize("sparsity", [-1.0, 1.0, 5.0, float("nan")])
def test_sparsity_is_at_least_zero_and_below_one(method, sparsity):
    with pytest.raises(ValueError, match="sparsity"):
        method(sparsity=sparsity)


def test_the_package_offers_its_names_lazily():
    assert nodelens_pruning.TaylorPruner is TaylorPruner
    assert set(nodelens_pruning.__all__) <= set(dir(nodelens_pruning))
    with pytest.raises(AttributeError, match="has no attribute 'Tailor'"):
        _ = nodelens_pruning.Tailor
