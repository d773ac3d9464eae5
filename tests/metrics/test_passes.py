"""Statistics with passes of their own: what the author kit does not see."""

import pytest
import torch
from tests.metrics.networks import Convolutional, data, made
from torch import nn

from nodelens.capture.batches import Batch
from nodelens.channels.infer import infer
from nodelens.testing.imports import heavy_imports
from nodelens_metrics.curvature.parameter_slices import by_role, counted_rows, differentiable, owned
from nodelens_metrics.curvature.traces import Traces
from nodelens_metrics.paths.path_gradients import PathGradients


@pytest.mark.parametrize(
    "name", ["curvature.traces", "curvature.gradient_flow", "paths.path_gradients"]
)
def test_what_a_metric_names_imports_nothing_heavy(name):
    assert heavy_imports(f"nodelens_metrics.{name}") == ""


def test_the_passes_say_what_they_cost():
    assert PathGradients(50).passes == "50 gradients along a path from zero"
    assert Traces(probes=3).passes == "1 gradient, and 3 products with the Hessian"


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = (nn.Linear(4, 4) for _ in range(3))
        self.again.weight = self.first.weight
        self.head.weight.requires_grad_(False)

    def forward(self, x):
        return self.head(self.again(self.first(x).relu()).relu())


def test_a_tied_weight_is_one_parameter_and_counts_by_row_and_by_column():
    net = made(Tied)
    graph = infer(net, data(2, 4)[0])
    groups = [group for group in graph if group.at("activation")]
    parameters = owned(net, graph, groups)
    assert len({id(each) for each in parameters.values()}) == len(parameters)
    values = {name: torch.ones_like(each) for name, each in parameters.items()}
    found = by_role(groups[0], net, values)
    assert found[0].tolist() == [4.0] * 4
    assert found[1].tolist() == [4.0 + 4.0] * 4


def test_buffers_are_not_parameters():
    net = made(Convolutional)
    graph = infer(net, data(2, 2, 3, 3)[0])
    groups = [group for group in graph if group.at("activation")]
    assert set(owned(net, graph, groups)) == {
        "conv.weight",
        "conv.bias",
        "norm.weight",
        "norm.bias",
        "head.weight",
    }
    assert set(owned(net, graph, groups, ("producer", "consumer"))) == {
        "conv.weight",
        "head.weight",
    }


def test_requires_grad_is_as_before_also_on_errors():
    net = made(Tied)
    before = [each.requires_grad for each in net.parameters()]
    with pytest.raises(RuntimeError), differentiable(dict(net.named_parameters())):
        assert all(each.requires_grad for each in net.parameters())
        raise RuntimeError
    assert [each.requires_grad for each in net.parameters()] == before


def test_rows_of_nothing_but_padding_do_not_count():
    mask = torch.tensor([[True, False], [False, False], [True, True]])
    assert counted_rows(Batch((torch.zeros(3, 2),), mask=mask)) == 2
    assert counted_rows(Batch((torch.zeros(3, 2),))) == 3
