import pytest
import torch
from attrs import evolve
from torch import nn

import nodelens
from nodelens.channels.groups import ChannelGroup, Extent, ParameterSlice
from nodelens.errors import NotApplicableError
from nodelens.scoring.view import GroupView, Network
from nodelens_metrics.weights.magnitudes import LAMP, BNScale, GatedMagnitude, GroupNorm

WIDTH = Extent(2)
GATED = {"gate": ("producer", 0), "up": ("producer", 0), "down": ("consumer", 1)}


def view(roles, **parameters):
    slices = tuple(ParameterSlice(name, axis, role, WIDTH) for name, (role, axis) in roles.items())
    group = ChannelGroup(name="g", kind="neurons", width=2, slices=slices)
    named = {name: torch.tensor(value) for name, value in parameters.items()}
    return GroupView(group, {}, named, torch.ones(1, dtype=torch.bool))


def of_model(model, x, name):
    graph = nodelens.infer(model.eval(), x)
    parameters = dict(model.named_parameters()) | dict(model.named_buffers())
    network = Network(modules=dict(model.named_modules()))
    return GroupView(graph[name], {}, parameters, torch.ones(1, dtype=torch.bool), network)


@pytest.fixture
def convolutions():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
    )
    nn.init.normal_(model[1].weight)
    return model


@pytest.mark.parametrize(
    ("norm", "expected"),
    [("l1", [7 + 1 + 7, 0 + 2 + 7]), ("l2", [5 + 1 + 5, 0 + 2 + 27**0.5]), ("linf", [9.0, 7.0])],
)
def test_gated_units_add_the_norms_of_their_three_slices(norm, expected):
    layer = view(
        GATED,
        gate=[[3.0, 4.0], [0.0, 0.0]],
        up=[[1.0, 0.0], [0.0, -2.0]],
        down=[[3.0, 5.0], [-4.0, 1.0], [0.0, 1.0]],
    )
    assert GatedMagnitude(norm=norm).score(layer).tolist() == pytest.approx(expected)


def test_bn_scale_is_the_absolute_gamma(convolutions):
    layer = of_model(convolutions, torch.randn(2, 3, 8, 8), "0:channels")
    expected = convolutions[1].weight.detach().abs().double()
    torch.testing.assert_close(BNScale().score(layer), expected)


def test_bn_scales_of_a_residual_stream_are_averaged():
    layer = view(
        {"a.weight": ("carrier", 0), "b.weight": ("carrier", 0), "b.bias": ("carrier", 0)},
        **{"a.weight": [1.0, -2.0], "b.weight": [3.0, 0.0], "b.bias": [9.0, 9.0]},
    )
    assert BNScale().score(layer).tolist() == [2.0, 1.0]


def test_without_a_normalisation_there_is_no_scale():
    with pytest.raises(NotApplicableError, match="no normalisation with a scale"):
        BNScale().score(view({"w": ("producer", 0)}, w=[[1.0], [2.0]]))


def test_the_slope_of_a_prelu_is_no_scale():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.Conv2d(4, 2, 3))
    layer = of_model(model, torch.randn(2, 3, 8, 8), "0:channels")
    with pytest.raises(NotApplicableError, match="no normalisation"):
        BNScale().score(layer)
    first, _, second = model.double()
    slices = [first.weight.square().sum((1, 2, 3)), second.weight.square().sum((0, 2, 3))]
    found = GroupNorm(normalise=False).score(layer)
    torch.testing.assert_close(found, sum(slices).detach() / 2, rtol=1e-6, atol=0)


def test_a_tied_weight_is_one_slice():
    roles = {"embed": ("producer", 1)}
    layer = view(roles, embed=[[3.0, 0.0], [-4.0, 1.0]])
    tied = ParameterSlice("embed", 1, "consumer", WIDTH)
    both = evolve(layer, group=evolve(layer.group, slices=(*layer.group.slices, tied)))
    assert GatedMagnitude().score(both).tolist() == [5.0, 1.0]
    assert GroupNorm(normalise=False).score(both).tolist() == [25.0, 1.0]


def test_a_depthwise_kernel_is_no_normalisation():
    layer = view({"dw.weight": ("carrier", 0)}, **{"dw.weight": [[[1.0]], [[2.0]]]})
    with pytest.raises(NotApplicableError, match="no normalisation"):
        BNScale().score(layer)


@pytest.mark.parametrize("power", [1, 2])
def test_group_norm_counts_convolution_scale_and_next_convolution(convolutions, power):
    layer = of_model(convolutions, torch.randn(2, 3, 8, 8), "0:channels")
    first, norm, _, second, _ = convolutions.double()
    slices = [
        first.weight.abs().pow(power).sum((1, 2, 3)),
        norm.weight.abs().pow(power),
        second.weight.abs().pow(power).sum((0, 2, 3)),
    ]
    mean = (sum(slices) / 3).detach()
    found = GroupNorm(power=power, normalise=False).score(layer)
    torch.testing.assert_close(found, mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(GroupNorm(power=power).score(layer), found / found.mean())


def test_group_norm_of_nodes_without_weights_is_zero():
    layer = view({"w": ("producer", 0)}, w=[[0.0, 0.0], [0.0, 0.0]])
    assert GroupNorm().score(layer).tolist() == [0.0, 0.0]


def test_no_weights_are_a_reason():
    with pytest.raises(NotApplicableError, match="no weight writes or reads these nodes"):
        GatedMagnitude().score(view({}))


def lamp(rows):
    """The published loop: sorted squares over what is left of their sum."""
    squares = [sum(w * w for w in row) for row in rows]
    order = sorted(range(len(rows)), key=lambda node: squares[node])
    found, left = [0.0] * len(rows), sum(squares)
    for node in order:
        found[node] = squares[node] / left
        left -= squares[node]
    return found


def test_lamp_is_the_published_score_of_node_norms(score):
    w = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).double()
    found = score(LAMP(), torch.ones(2, 6), w=w)
    assert found.tolist() == pytest.approx(lamp(w.tolist()))
    assert found.max() == 1.0


def test_lamp_of_the_group_counts_what_reads_a_node_too(score):
    random = torch.Generator().manual_seed(1)
    w, v = (torch.randn(*shape, generator=random).double() for shape in ((6, 3), (2, 6)))
    found = score(LAMP(of="group"), torch.ones(2, 6), w=w, v=v)
    assert found.tolist() == pytest.approx(lamp(torch.cat([w, v.T], dim=1).tolist()))


def test_lamp_gives_equal_nodes_equal_scores(score):
    w = torch.tensor([[1.0], [-1.0], [2.0], [0.0]]).double()
    expected = [1 / 6, 1 / 6, 1.0, 0.0]
    assert score(LAMP(), torch.ones(2, 4), w=w).tolist() == pytest.approx(expected)
