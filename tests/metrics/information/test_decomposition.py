import math

import pytest
import torch
from attrs import evolve

from nodelens.interfaces.statistic import OUTPUTS
from nodelens.scoring.view import GroupView
from nodelens.testing.metric_checks import scores
from nodelens.testing.rewritings import select_nodes
from nodelens.testing.world import make_world, reading
from nodelens_metrics.information.decomposition import (
    CoInformation,
    TargetExcess,
    TargetRedundancy,
    TargetSynergy,
    TargetUnique,
)
from nodelens_metrics.information.pairs import decompose
from nodelens_metrics.mathematics.estimators import gaussian_information_bias

QUIET = 1e-12
TABLE = [
    # r1, r2, ρ: I1, I2, I12, redundancy, unique, synergy
    ((0.5, 0.5, 0.0), (0.143841, 0.143841, 0.346574, 0.143841, 0.0, 0.202733)),
    ((0.5, 0.5, 0.5), (0.143841, 0.143841, 0.202733, 0.143841, 0.0, 0.058892)),
    ((0.6, 0.3, 0.5), (0.223144, 0.047155, 0.223144, 0.047155, 0.175988, 0.0)),
    ((0.6, 0.0, 0.5), (0.223144, 0.0, 0.326963, 0.0, 0.223144, 0.103820)),
    ((0.8, 0.4, 0.5), (0.510826, 0.087177, 0.510826, 0.087177, 0.423649, 0.0)),
]


@pytest.mark.parametrize(("correlations", "expected"), TABLE)
def test_closed_forms(correlations, expected):
    parts = decompose(*(torch.tensor(value).double() for value in correlations))
    found = [parts.first, parts.second, parts.both]
    found += [parts.redundancy, parts.unique, parts.synergy]
    assert [value.item() for value in found] == pytest.approx(list(expected), abs=1e-6)
    assert parts.co_information.item() == pytest.approx(expected[3] - expected[5], abs=1e-6)


def test_the_interaction_information_of_the_table():
    parts = decompose(*(torch.tensor(0.5).double() for _ in range(3)))
    assert -parts.co_information.item() == pytest.approx(-0.084950, abs=1e-6)


def brute(world, target, values=None):
    """Return all parts of all pairs from stored row means, in plain loops."""
    values = world.activation.mean(1) if values is None else values
    outputs = reading(world, "activation").outputs[:, 0, OUTPUTS.index(target)]
    joint = torch.corrcoef(torch.cat([values, outputs[:, None]], dim=1).T)
    nodes = values.shape[1]
    parts = torch.zeros(4, nodes, nodes, dtype=torch.float64)

    def information(*members):
        matrix = joint[list(members)][:, list(members)]
        both = torch.linalg.det(joint[[*members, nodes]][:, [*members, nodes]])
        return -0.5 * math.log(both / torch.linalg.det(matrix))

    for i in range(nodes):
        for j in set(range(nodes)) - {i}:
            one, other, both = information(i), information(j), information(i, j)
            parts[0, i, j] = min(one, other)
            parts[1, i, j] = one - min(one, other)
            parts[2, i, j] = both - max(one, other)
            parts[3, i, j] = one + other - both
    return parts, joint


@pytest.mark.parametrize("target", OUTPUTS)
def test_all_pairs_of_row_means_against_plain_loops(target):
    world = make_world()
    parts, _ = brute(world, target)
    metrics = (TargetRedundancy, TargetUnique, TargetSynergy, CoInformation)
    for metric, expected in zip(metrics, parts, strict=True):
        found = scores(metric(target=target, noise=QUIET), world)
        torch.testing.assert_close(found, expected.sum(1) / 6, rtol=1e-8, atol=1e-9)


def without_own(values, worst):
    return values.clone().fill_diagonal_(worst)


def test_top_takes_the_largest_partners_and_for_unique_the_best_substitutes():
    world = make_world()
    parts, _ = brute(world, "margin")
    options = {"top": 2, "noise": QUIET}
    for metric, values in ((TargetRedundancy, parts[0]), (TargetSynergy, parts[2])):
        expected = without_own(values, -9.0).topk(2).values.mean(1)
        torch.testing.assert_close(scores(metric(**options), world), expected)
    least = without_own(parts[1], 9.0).topk(2, largest=False).values.mean(1)
    torch.testing.assert_close(scores(TargetUnique(**options), world), least)


def test_the_excess_is_the_best_synergy_among_the_most_correlated():
    world = make_world()
    parts, joint = brute(world, "margin")
    nearest = without_own(joint[:7, :7].abs(), -1.0).topk(3).indices
    expected = parts[2].gather(1, nearest).topk(2).values.mean(1).clamp(min=0.0)
    torch.testing.assert_close(scores(TargetExcess(pool=3, top=2, noise=QUIET), world), expected)


def test_the_bias_is_subtracted_from_every_term():
    world = make_world()
    parts, _ = brute(world, "margin")
    one, two = (gaussian_information_bias(d, 1, 36).item() for d in (1, 2))
    found = scores(CoInformation(correct_bias=True, noise=QUIET), world)
    expected = parts[3].sum(1) / 6 - 2 * one + two
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_a_sketch_counts_in_the_bias():
    world = make_world()
    plain = scores(CoInformation(sketch=16, noise=QUIET), world)
    corrected = scores(CoInformation(sketch=16, correct_bias=True, noise=QUIET), world)
    count = 1 + 1 / (1 / 35 + 1 / 16)
    one, two = (gaussian_information_bias(d, 1, count) for d in (1, 2))
    torch.testing.assert_close(plain - corrected, (2 * one - two).expand(7))


def test_synergy_of_unrelated_nodes_is_biased_by_half_over_n():
    x = torch.randn(4000, 50, 3, generator=torch.Generator().manual_seed(0)).double()
    x = x - x.mean(1, keepdim=True)
    x = x / x.square().sum(1, keepdim=True).sqrt()
    rho = x.mT @ x
    plain = decompose(rho[:, 0, 2], rho[:, 1, 2], rho[:, 0, 1])
    one, two = (gaussian_information_bias(d, 1, 50.0).item() for d in (1, 2))
    assert plain.both.mean().item() == pytest.approx(two, rel=0.05)
    assert (plain.both - plain.first).mean().item() == pytest.approx(two - one, rel=0.05)


def test_a_duplicate_is_redundant_with_all_and_has_no_synergy():
    world = select_nodes(make_world(), [0, 1, 0])
    alone = scores(TargetRedundancy(top=1), world)
    pair = decompose(*(torch.tensor(value).double() for value in (0.5, 0.5, 1 / (1 + 1e-6))))
    assert alone[0] == pytest.approx(alone[2])
    assert pair.redundancy.item() == pytest.approx(0.143841, abs=1e-6)
    assert pair.synergy.item() == pytest.approx(0.0, abs=1e-6)


def tokens(world):
    """Return the statistics' view where every position has a prediction of its own."""
    from nodelens.testing.world import layout_of
    from nodelens.testing.world_view import view_with
    from nodelens_metrics.information.target_gram import TargetGram

    statistic = TargetGram()
    state = statistic.start(layout_of(world))
    outputs = torch.stack([world.activation @ row for row in world.outgoing[:3]], dim=2)
    outputs[0, 0, 1] = torch.nan
    statistic.update(state, evolve(reading(world, "activation"), outputs=outputs))
    return view_with(world, {statistic: state}), outputs


def test_tokens_are_compared_with_their_own_predictions():
    world = make_world()
    view, outputs = tokens(world)
    assert isinstance(view, GroupView)
    counted = outputs.isfinite().all(-1)
    joint = torch.cat([world.activation[counted], outputs[counted][:, :1]], dim=1)
    r = torch.corrcoef(joint.T)[-1, :-1]
    found = TargetUnique(noise=QUIET).score(view)
    information = -0.5 * (-r.square()).log1p()
    expected = (information.unsqueeze(1) - information).clamp(min=0.0).sum(1) / 6
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("metric", [TargetRedundancy, TargetUnique, TargetSynergy, CoInformation])
def test_a_lonely_node_has_no_partner(metric):
    assert scores(metric(), select_nodes(make_world(), [3])).tolist() == [0.0]


@pytest.mark.parametrize("metric", [TargetRedundancy, TargetUnique, TargetSynergy, TargetExcess])
def test_a_sketch_is_an_estimate_of_the_exact_value(metric):
    world = make_world(rows=400)
    exact, sketched = scores(metric(), world), scores(metric(sketch=4096), world)
    assert metric().sketched().sketch == 1024
    assert (exact - sketched).abs().max() < 0.05
