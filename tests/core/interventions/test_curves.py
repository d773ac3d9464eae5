import numpy as np
import pytest

from nodelens.interventions.ablation.compute import Case, case_curves
from nodelens.interventions.ablator import maskable, open_ablator

CONTRIBUTIONS = [4.0, -1.0, 2.0, 0.5, 3.0, 1.0, 0.25, 8.0, 0.125, 5.0]
FRACTIONS = (0.2, 0.5, 0.8)


@pytest.fixture
def measured(additive):
    def run(metrics, *, firsts=("least", "most"), orders=5, seed=0, contributions=CONTRIBUTIONS):
        case = additive(contributions, metrics, seed=seed)
        ablator = open_ablator(case.request, "zero", maskable(case.request.graph))
        groups = maskable(case.request.graph)
        found = case_curves(ablator, Case("all", groups, tuple(metrics)), FRACTIONS, firsts, orders)
        return case, found

    return run


def changes(curve):
    return [curve.change(point).value for point in curve.points]


def test_curves_are_sums_of_the_contributions_removed(measured):
    case, found = measured({"true": CONTRIBUTIONS})
    ordered, mean = np.sort(case.contributions), case.inputs.mean()
    least, most = found.curves
    np.testing.assert_allclose(changes(least), [ordered[:k].sum() * mean for k in (2, 5, 8)])
    np.testing.assert_allclose(changes(most), [ordered[-k:].sum() * mean for k in (2, 5, 8)])
    assert [point.removed for point in least.points] == [2, 5, 8]
    assert [point.reached for point in least.points] == [0.2, 0.5, 0.8]


def test_standard_errors_are_those_of_paired_differences(measured):
    case, found = measured({"true": CONTRIBUTIONS})
    removed = np.sort(case.contributions)[:5].sum()
    change = found.curves[0].change(found.curves[0].points[1])
    assert change.se == pytest.approx(abs(removed) * case.inputs.std(ddof=1) / 2)


def test_the_area_is_the_trapezoid_mean_of_the_loss_change(measured):
    _, found = measured({"true": CONTRIBUTIONS})
    curve = found.curves[0]
    x, y = [0.0, 0.2, 0.5, 0.8], [0.0, *changes(curve)]
    assert curve.area().value == pytest.approx(np.trapezoid(y, x) / 0.8)


def test_the_true_contributions_save_damage_and_their_negatives_do_not(measured):
    _, found = measured(
        {"true": CONTRIBUTIONS, "inverted": (CONTRIBUTIONS, False)}, firsts=("least",)
    )
    true, inverted = found.curves
    assert found.against_random(true).value < 0 < found.against_random(inverted).value
    random = np.mean([curve.area().value for curve in found.random])
    assert found.random_area().value == pytest.approx(random)
    saving = found.saving(true)
    assert saving.value == pytest.approx(1 - true.area().value / random)


def test_the_error_of_the_random_mean_holds_the_spread_between_orders(measured):
    _, found = measured({}, orders=8)
    areas = [curve.area().value for curve in found.random]
    assert found.random_area().se > np.std(areas, ddof=1) / np.sqrt(8)


def test_no_saving_where_random_removal_does_no_damage(measured):
    _, found = measured({"any": range(10)}, contributions=[1.0, -1.0] * 5)
    assert found.random_area().value < 2 * found.random_area().se
    assert found.saving(found.curves[0]) is None


def test_a_constant_metric_is_a_random_order_and_stays_within_the_band(measured):
    gaps = []
    for seed in range(20):
        _, found = measured({"constant": np.ones(10)}, firsts=("least",), seed=seed, orders=20)
        spread = np.std([curve.area().value for curve in found.random], ddof=1)
        gaps.append(found.against_random(found.curves[0]).value / spread)
    assert np.mean(np.abs(gaps) < 2) >= 0.8
    assert abs(np.mean(gaps)) < 3 / np.sqrt(20)


def test_equal_seeds_give_equal_random_orders(measured):
    first = [changes(curve) for curve in measured({}, seed=4)[1].random]
    again = [changes(curve) for curve in measured({}, seed=4)[1].random]
    other = [changes(curve) for curve in measured({}, seed=5)[1].random]
    assert first == again != other
