"""Curvature from an independent library: curvlinops has the same matrices, whole."""

import warnings

import pytest
import torch
from tests.metrics.networks import Convolutional, Perceptron, batches, data, made
from torch import nn

import nodelens
from nodelens.capture.batches import Batch
from nodelens.capture.losses import row_losses
from nodelens_metrics.curvature.hessian import OBD, GraSP, HessianTrace
from nodelens_metrics.curvature.hessian_products import product_with
from nodelens_metrics.curvature.kfac import KFAC

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from curvlinops import (
        FisherType,
        GGNLinearOperator,
        HessianLinearOperator,
        KFACLinearOperator,
    )

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"  # in torch's own forward mode
)
NETWORKS = {Perceptron: (30, 4), Convolutional: (12, 2, 3, 3)}
OPERATORS = {"hessian": HessianLinearOperator, "gauss_newton": GGNLinearOperator}
SUMMED = nn.CrossEntropyLoss(reduction="sum")


@pytest.fixture(params=NETWORKS, ids=lambda kind: kind.__name__)
def case(request):
    """Return a network and its data."""
    return made(request.param), *data(*NETWORKS[request.param])


def theirs(matrix, net, x, y, parameters):
    return OPERATORS[matrix](net, SUMMED, parameters, [(x, y)])


def by_role(net, group, values):
    """Return sums of what each node owns by role; `values` has one tensor per parameter."""
    named = dict(zip((name for name, _ in net.named_parameters()), values, strict=True))
    found = {}
    for part in group.slices:
        if part.parameter in named:
            own = part.extent.nodes_first(named[part.parameter], part.axis).sum(1)
            found[part.role] = found.get(part.role, 0) + own
    return found


def split(net, vector):
    """Return a vector of all parameters as one tensor per parameter."""
    parts = vector.split([each.numel() for each in net.parameters()])
    return [part.view_as(each) for part, each in zip(parts, net.parameters(), strict=True)]


@pytest.mark.parametrize("matrix", OPERATORS)
def test_products_are_the_same(case, matrix):
    net, x, y = case
    parameters = [*net.parameters()]
    operator = theirs(matrix, net, x, y, parameters)
    product = product_with(matrix, net, Batch((x,), targets=y), row_losses, parameters)
    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        vector = torch.randn(operator.shape[1], generator=random, dtype=torch.float64)
        found = product(split(net, vector))
        torch.testing.assert_close(torch.cat([part.flatten() for part in found]), operator @ vector)


@pytest.mark.parametrize("slices", ["all", "producer", "consumer"])
@pytest.mark.parametrize("matrix", OPERATORS)
def test_traces_of_nodes_agree_within_their_errors(case, matrix, slices):
    net, x, y = case
    operator = theirs(matrix, net, x, y, [*net.parameters()])
    diagonal = (operator @ torch.eye(operator.shape[1], dtype=torch.float64)).diagonal() / len(x)
    weights = torch.cat([each.detach().flatten() for each in net.parameters()])
    wanted = {"HessianTrace": diagonal, "OBD": 0.5 * diagonal * weights.square()}
    metrics = [kind(matrix, slices, probes=60) for kind in (HessianTrace, OBD)]
    graph = nodelens.infer(net, x)
    for found in nodelens.score(net, [(x, y)], metrics):
        roles = by_role(net, graph[found.group], split(net, wanted[found.metric]))
        expected = sum(roles.values()) if slices == "all" else roles[slices]
        distance = (torch.as_tensor(found.values) - expected).abs()
        assert (distance <= 6 * torch.as_tensor(found.se) + 1e-12).all()


def test_grasp_is_their_hessian_times_the_gradient(case):
    net, x, y = case
    weights = [each for each in net.parameters() if each.ndim > 1]
    gradient = torch.autograd.grad(SUMMED(net(x), y), weights)
    flow = theirs("hessian", net, x, y, weights) @ [each.detach() for each in gradient]
    of_weights = iter(
        w.detach() * each / len(x) ** 2 for w, each in zip(weights, flow, strict=True)
    )
    values = [next(of_weights) if p.ndim > 1 else 0.0 * p.detach() for p in net.parameters()]
    graph = nodelens.infer(net, x)
    for found in nodelens.score(net, batches(x, y), [GraSP()]):
        expected = -sum(by_role(net, graph[found.group], values).values())
        torch.testing.assert_close(torch.as_tensor(found.values), expected)


def test_kfac_has_their_kronecker_factors(case):
    net, x, y = case
    graph = nodelens.infer(net, x)
    for found in nodelens.score(net, batches(x, y), [KFAC(labels="data")]):
        written = graph[found.group].role("producer")[0].parameter.removesuffix(".weight")
        operator = KFACLinearOperator(
            net,
            SUMMED,
            [*net.get_submodule(written).parameters()],
            [(x, y)],
            fisher_type=FisherType.EMPIRICAL,
            separate_weight_and_bias=False,
        )
        own = [each.detach() for each in net.get_submodule(written).parameters()]
        for node, value in enumerate(found.values):
            row = [torch.zeros_like(each) for each in own]
            for part, each in zip(row, own, strict=True):
                part[node] = each[node]
            lost = sum((a * b).sum() for a, b in zip(row, operator @ row, strict=True)).item()
            assert value == pytest.approx(0.5 * lost / len(x))
