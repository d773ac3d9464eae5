import math

import pytest
import torch
from attrs import evolve
from torch.nn import functional as F

from nodelens.channels.groups import Extent, ParameterSlice
from nodelens.errors import NotApplicableError
from nodelens.testing.rewritings import select_rows
from nodelens.testing.world import make_world
from nodelens.testing.world_view import view_of
from nodelens_metrics.covariance.alignment import (
    ClassRayleighQuotient,
    InputDirections,
    InputInformation,
    RayleighQuotient,
    SpectralAlignment,
)
from nodelens_metrics.covariance.directions import directions_of

COVARIANCE = [[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 1.0]]


def test_along_an_eigenvector_it_is_the_eigenvalue(score, gaussian):
    x = gaussian(COVARIANCE)
    values, vectors = torch.linalg.eigh(torch.tensor(COVARIANCE, dtype=torch.float64))
    w = vectors.T * torch.tensor([[0.1], [1.0], [7.0]])
    torch.testing.assert_close(score(RayleighQuotient(), x, pre=x @ w.T, w=w), values)


def test_variance_and_covariance_forms_agree(score, gaussian):
    x, sigma = gaussian(COVARIANCE), torch.tensor(COVARIANCE, dtype=torch.float64)
    w = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0], [0.0, 0.0, 5.0]], dtype=torch.float64)
    exact = (w @ sigma * w).sum(1) / (w * w).sum(1)
    found = score(RayleighQuotient(), x, pre=x @ w.T + 3.0, w=w)
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=0.0)


def test_isotropic_input_gives_the_same_number_to_every_direction(score, gaussian):
    x = gaussian([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]])
    w = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = score(RayleighQuotient(), x, pre=x @ w.T, w=w)
    torch.testing.assert_close(found, torch.full_like(found, 2.0))


def test_a_convolution_is_a_quotient_over_its_patches(score):
    random = torch.Generator().manual_seed(2)
    images = torch.randn(6, 2, 5, 5, generator=random, dtype=torch.float64)
    kernel = torch.randn(3, 2, 3, 3, generator=random, dtype=torch.float64)
    y = F.conv2d(images, kernel, stride=2, padding=1).flatten(2).mT
    patches = F.unfold(images, 3, stride=2, padding=1).mT.flatten(0, 1)
    w = kernel.flatten(1)
    exact = (w @ torch.cov(patches.T, correction=0) * w).sum(1) / (w * w).sum(1)
    torch.testing.assert_close(score(RayleighQuotient(), y, pre=y, w=w), exact)


def test_in_its_layer_it_is_one_on_average(score, gaussian):
    x = gaussian(COVARIANCE)
    w = torch.eye(3, dtype=torch.float64)
    found = score(RayleighQuotient(scale="layer"), x, pre=x, w=w)
    torch.testing.assert_close(found, torch.tensor([4.0, 3.0, 1.0], dtype=torch.float64) / (8 / 3))


def test_zero_weights_get_zero(score):
    x, w = torch.zeros(4, 2), torch.zeros(2, 3, dtype=torch.float64)
    for scale in ("absolute", "layer", "trace", "largest"):
        assert score(RayleighQuotient(scale=scale), x, w=w).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("slices", "reason"),
    [
        ((), "no parameter writes these nodes"),
        (
            tuple(ParameterSlice(name, 0, "producer", Extent(7)) for name in ("a.w", "b.w")),
            "2 weights write these nodes: a.w, b.w; metrics with the option 'producer'",
        ),
        (
            (ParameterSlice("layer.weight", 0, "producer", Extent(1, inner=7)),),
            "several rows of weights",
        ),
    ],
)
def test_without_one_row_of_weights_per_node_there_is_a_reason(slices, reason):
    metric = RayleighQuotient()
    view = view_of(make_world(), metric.statistics)
    with pytest.raises(NotApplicableError, match=reason):
        metric.score(evolve(view, group=evolve(view.group, slices=slices)))


def test_the_ordinary_node_has_half_a_bit_of_input_information(score, gaussian):
    y = gaussian([[1.0, 0, 0], [0, 4.0, 0], [0, 0, 9.0]])
    found = score(InputInformation(), y, pre=y)
    expected = [0.5 * math.log(1 + variance / 4.0) for variance in (1.0, 4.0, 9.0)]
    assert found.tolist() == pytest.approx(expected)


def test_constant_nodes_have_none_and_do_not_move_the_median(score, gaussian):
    y = gaussian([[1.0, 0, 0], [0, 4.0, 0], [0, 0, 9.0]])
    more = torch.cat([y, torch.full((len(y), 4), 0.1)], dim=1)
    found = score(InputInformation(), more, pre=more)
    torch.testing.assert_close(found[:3], score(InputInformation(), y, pre=y))
    assert found[3:].tolist() == [0.0] * 4


def eigenvectors(covariance):
    values, vectors = torch.linalg.eigh(torch.tensor(covariance, dtype=torch.float64))
    return values.flip(0), vectors.flip(1).T.contiguous()


def test_the_trace_and_the_largest_eigenvalue_scale_it(score, gaussian):
    x = gaussian(COVARIANCE)
    values, w = eigenvectors(COVARIANCE)
    found = score(RayleighQuotient(scale="trace"), x, pre=x @ w.T, w=w, inputs=x)
    torch.testing.assert_close(found, values / values.sum())
    found = score(RayleighQuotient(scale="largest"), x, pre=x @ w.T, w=w, inputs=x)
    torch.testing.assert_close(found, values / values[0])


def test_a_node_along_an_eigenvector_draws_on_one_direction(score, gaussian):
    x = gaussian(COVARIANCE)
    values, vectors = eigenvectors(COVARIANCE)
    both = (vectors[0] / values[0].sqrt() + vectors[1] / values[1].sqrt()).unsqueeze(0)
    w = torch.cat([vectors[:2], both])
    found = score(InputDirections(), x, pre=x @ w.T, w=w, inputs=x)
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64))


def test_the_profile_sums_to_the_variance_of_the_pre_activation():
    world = make_world()
    metric = InputDirections()
    profile = directions_of(view_of(world, metric.statistics), None).profile()
    exact = world.pre.flatten(0, 1).var(0, correction=0)
    torch.testing.assert_close(profile.sum(1), exact, rtol=1e-10, atol=0.0)


def test_the_leading_directions_hold_the_aligned_weights(score, gaussian):
    x = gaussian([[8.0, 0, 0], [0, 1.5, 0], [0, 0, 0.5]])
    w = torch.tensor([[1.0, 0, 0], [0, 0, 2.0], [3.0, 4.0, 0]], dtype=torch.float64)
    found = score(SpectralAlignment(variance=0.7), x, pre=x @ w.T, w=w, inputs=x)
    assert found.tolist() == pytest.approx([1.0, 0.0, 9 / 25])
    found = score(SpectralAlignment(variance=0.9), x, pre=x @ w.T, w=w, inputs=x)
    assert found.tolist() == pytest.approx([1.0, 0.0, 1.0])


@pytest.mark.parametrize("across", ["mean", "largest", "smallest"])
def test_within_classes_it_is_the_variance_of_each_class(across):
    world = make_world()
    metric = ClassRayleighQuotient(across=across)
    flat = [world.pre[world.targets == label].flatten(0, 1) for label in range(3)]
    variances = torch.stack([each.var(0, correction=0) for each in flat])
    counts = torch.tensor([float(len(each)) for each in flat]).unsqueeze(1)
    reduced = {
        "mean": (variances * counts).sum(0) / counts.sum(),
        "largest": variances.amax(0),
        "smallest": variances.amin(0),
    }[across]
    exact = reduced / world.incoming.square().sum(1)
    torch.testing.assert_close(metric.score(view_of(world, metric.statistics)), exact)


def test_a_class_of_one_sample_has_no_quotient():
    world = make_world(positions=1)
    rows = [row for row in range(world.rows) if world.targets[row] != 2]
    alone = [*rows, int((world.targets == 2).nonzero()[0])]
    metric = ClassRayleighQuotient(across="smallest")
    few, with_one = (
        metric.score(view_of(select_rows(world, chosen), metric.statistics))
        for chosen in (rows, alone)
    )
    torch.testing.assert_close(with_one, few)
