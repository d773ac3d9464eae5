"""Channel inference on networks whose groups can be written down by hand."""

from __future__ import annotations

import pytest
import torch
from tests.core.channels.architectures import build
from torch import nn
from torch.nn import functional as F

from nodelens.channels.groups import Extent
from nodelens.channels.infer import infer
from nodelens.interfaces.operator import Operator


def roles(group):
    return {(part.parameter, part.axis): part.role for part in group.slices}


def sites(group, tap="activation"):
    return [(site.module, site.axis) for site in group.at(tap)]


def conv_bn_flatten():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )


def test_convolution_batch_norm_and_flatten():
    graph = infer(conv_bn_flatten(), torch.zeros(7, 1, 8, 8))
    assert [(g.name, g.width, g.prunable) for g in graph] == [
        ("0:channels", 4, True),
        ("4:channels", 6, True),
        ("7:neurons", 5, True),
        ("9:neurons", 3, False),
    ]
    assert not graph.note
    assert roles(graph["0:channels"]) == {
        ("0.weight", 0): "producer",
        ("0.bias", 0): "carrier",
        ("1.weight", 0): "carrier",
        ("1.bias", 0): "carrier",
        ("1.running_mean", 0): "carrier",
        ("1.running_var", 0): "carrier",
        ("4.weight", 1): "consumer",
    }
    flat = next(part for part in graph["4:channels"].slices if part.parameter == "7.weight")
    assert flat.extent == Extent(6, inner=16)
    assert sites(graph["0:channels"]) == [("4", 1)]
    assert sites(graph["4:channels"]) == [("7", 1)]
    assert sites(graph["0:channels"], "preactivation") == [("0", 1)]
    assert graph["9:neurons"].frozen == "model output"


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 12, 3, padding=1)
        self.outer = nn.Conv2d(12, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.outer(F.relu(self.inner(x)))
        x += self.depthwise(x)
        return self.head(x.mean((2, 3)))


def test_residual_sum_and_depthwise_are_one_group():
    graph = infer(Residual(), torch.zeros(5, 3, 7, 7))
    stream = graph["stem:channels"]
    assert roles(stream) == {
        ("stem.weight", 0): "producer",
        ("stem.bias", 0): "carrier",
        ("outer.weight", 0): "producer",
        ("outer.bias", 0): "carrier",
        ("depthwise.weight", 0): "carrier",
        ("depthwise.bias", 0): "carrier",
        ("inner.weight", 1): "consumer",
        ("head.weight", 1): "consumer",
    }
    assert stream.prunable
    assert not stream.normalised
    assert sites(stream) == [("inner", 1), ("head", 1)]


class Concatenated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(3, 6, 1)
        self.read = nn.Conv2d(10, 5, 1)

    def forward(self, x):
        return self.read(torch.cat([self.a(x), self.b(x)], dim=1)).mean((2, 3))


def test_concatenation_gives_each_producer_its_segment():
    graph = infer(Concatenated(), torch.zeros(5, 3, 7, 7))
    extents = {
        group.name: part.extent
        for group in graph
        for part in group.slices
        if part.parameter == "read.weight" and part.role == "consumer"
    }
    assert extents == {"a:channels": Extent(4), "b:channels": Extent(6, offset=4)}


class Gated(nn.Module):
    """A fused gate and up projection, split in two, as in Phi-3."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.embed = nn.Linear(4, 6)
        self.fused = nn.Linear(6, 14, bias=False)
        self.down = nn.Linear(7, 6, bias=False)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.embed(x)
        gate, up = self.fused(self.norm(x)).chunk(2, dim=-1)
        return self.head(x + self.down(F.silu(gate) * up))


def test_gate_and_up_are_one_group_and_layer_norm_marks_the_stream():
    graph = infer(Gated(), torch.zeros(5, 3, 4))
    neurons = graph["fused:neurons"]
    assert [(p.parameter, p.extent.offset, p.role) for p in neurons.slices] == [
        ("fused.weight", 0, "producer"),
        ("fused.weight", 7, "producer"),
        ("down.weight", 0, "consumer"),
    ]
    assert graph["embed:residual"].normalised
    assert not neurons.normalised


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.mix(self.embed(tokens)))


def test_tied_weights_are_one_parameter():
    graph = infer(Tied(), torch.zeros(3, 5, dtype=torch.long))
    stream, vocabulary = graph
    assert vocabulary.frozen == "vocabulary"
    assert [(part.parameter, part.axis, part.role) for part in stream.slices] == [
        ("embed.weight", 1, "producer"),
        ("embed.weight", 1, "consumer"),
        ("mix.weight", 0, "producer"),
        ("mix.weight", 1, "consumer"),
        ("mix.bias", 0, "carrier"),
    ]
    assert stream.prunable
    assert sites(stream) == [("mix", 2), ("head", 2)]


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.first = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x)
        return self.head(F.relu(self.inner(F.relu(self.inner(x)))))


def test_a_shared_module_reads_and_writes_one_group():
    graph = infer(Shared(), torch.zeros(5, 4))
    stream = graph["first:residual"]
    assert roles(stream)["inner.weight", 0] == "producer"
    assert roles(stream)["inner.weight", 1] == "consumer"
    assert [(s.module, s.call) for s in stream.at("activation")] == [
        ("inner", 0),
        ("inner", 1),
        ("head", 0),
    ]


class Inverted(nn.Module):
    """Uses an operator that has no rule."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 6)
        self.b = nn.Linear(6, 5)
        self.c = nn.Linear(5, 3)

    def forward(self, x):
        x = self.a(x)
        x = torch.linalg.inv(x.T @ x + torch.eye(6))
        return self.c(F.relu(self.b(x)))


def test_an_operator_without_a_rule_freezes_what_it_touches_and_nothing_else():
    graph = infer(Inverted(), torch.zeros(5, 4))
    (name,) = graph.unknown_operators
    assert name == "aten.linalg_inv_ex.default"
    assert not graph["a:neurons"].prunable
    assert graph["b:neurons"].prunable


def test_a_rule_can_be_added():
    def inverse(op):
        op.freeze(op.axes(op.args[0]), "inverted")
        return [op.axes(op.args[0]), ()]

    graph = infer(Inverted(), torch.zeros(5, 4), operators=[Operator("linalg_inv_ex", inverse)])
    assert not graph.unknown_operators


def test_a_rule_that_returns_axes_of_other_sizes_is_not_believed():
    empty = Operator("linalg_inv_ex", lambda op: [(), ()])
    graph = infer(Inverted(), torch.zeros(5, 4), operators=[empty])
    assert list(graph.unknown_operators) == ["aten.linalg_inv_ex.default"]


class DataDependent(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 6)
        self.b = nn.Linear(6, 3)

    def forward(self, x):
        x = self.a(x)
        return self.b(x) if x.max() > 0 else self.b(-x)


class Particular(DataDependent):
    """Runs on parameters only, which a trace replaces by tensors."""

    def forward(self, x):
        assert isinstance(self.a.weight, nn.Parameter), "not a parameter"
        return super().forward(x)


def test_a_model_that_cannot_be_traced_still_has_frozen_groups():
    graph = infer(Particular(), torch.ones(5, 4))
    assert not graph.traced
    assert graph.note == "the model could not be traced (AssertionError: not a parameter)"
    assert [(g.name, g.width, g.prunable) for g in graph] == [
        ("a:neurons", 6, False),
        ("b:neurons", 3, False),
    ]


def test_control_flow_that_depends_on_data_is_traced_on_the_example():
    graph = infer(DataDependent(), torch.ones(5, 4))
    assert graph.traced
    assert graph["a:neurons"].frozen == "reduced by max in the model"


def test_an_expert_that_the_example_does_not_reach_freezes_what_it_may_read():
    torch.manual_seed(0)
    model, (x,) = build("experts")
    assert infer(model, x)["embed:residual"].prunable
    graph = infer(model, x[:1])
    unreached = [g.frozen for g in graph if g.frozen and "not reached" in g.frozen]
    assert "was not reached by the example inputs" in unreached[0]
    assert not graph["embed:residual"].prunable
    assert graph.unused


def test_what_is_used_in_training_only_belongs_to_its_group():
    model, inputs = build("auxiliary")
    graph = infer(model, *inputs)
    assert roles(graph["stem:channels"])["extra.weight", 1] == "consumer"
    assert sites(graph["stem:channels"]) == [("body", 1)]
    assert graph["extra:neurons"].frozen == "it is read in training only"
    assert not graph.unused


def test_parameters_that_share_memory_are_one():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 2))
    model[1].weight = nn.Parameter(model[0].weight.data)
    names = {part.parameter for group in infer(model, torch.zeros(3, 4)) for part in group.slices}
    assert names == {"0.weight", "2.weight", "2.bias"}


def test_what_the_forward_leaves_in_modules_is_put_back():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.seen, self.last = nn.Linear(4, 3), [], None

        def forward(self, x):
            self.last = self.a(x)
            self.seen.append(self.last)
            return self.last

    model = Caching()
    infer(model, torch.zeros(5, 4))
    assert model.last is None
    assert model.seen == []


def test_a_write_into_part_of_a_constant_makes_it_data():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x):
            rows = x.new_zeros(x.shape[0] + 1, 6)
            rows[1:] = self.a(x)
            return self.c(self.b(rows))

    group = infer(Writes(), torch.zeros(7, 4))["a:neurons"]
    assert roles(group)["b.weight", 1] == "consumer"
    assert sites(group) == [("b", 1)]
    assert group.prunable


@pytest.mark.parametrize("place", ["meta", "cpu"])
def test_weights_on_the_meta_device(place):
    with torch.device("meta"):
        model = conv_bn_flatten()
    graph = infer(model, torch.zeros(7, 1, 8, 8, device=place))
    assert [g.name for g in graph if g.prunable] == ["0:channels", "4:channels", "7:neurons"]


def test_outputs_in_objects_and_mappings_are_frozen():
    class Answer:
        def __init__(self, logits):
            self.logits = logits

    class Answers(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return {"one": [self.a(x)], "two": Answer(self.b(x))}

    graph = infer(Answers(), torch.zeros(5, 4))
    assert [group.frozen for group in graph] == ["model output", "model output", "model input"]


def test_inference_leaves_the_model_alone():
    model = conv_bn_flatten().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    infer(model, torch.zeros(7, 1, 8, 8))
    assert model.training
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(state, torch.random.get_rng_state())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_values_that_are_overwritten_later_are_marked():
    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            x = self.a(x)
            y = self.b(x)
            x += y
            return self.c(x)

    group = infer(Overwrites(), torch.zeros(5, 4))["a:residual"]
    assert [(s.module, s.overwritten) for s in group.at("activation")] == [
        ("b", True),
        ("c", False),
    ]


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_convolution_factors_by_its_groups(groups):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1, groups=groups), nn.Conv2d(12, 5, 1)
    )
    graph = infer(model, torch.zeros(2, 3, 7, 7))
    widths = {group.name: group.width for group in graph if group.prunable}
    assert widths["0:channels"] == groups
    assert set(widths.values()) >= {groups, 8 // groups, 12 // groups}


def test_unknown_group_name_gives_the_closest():
    from nodelens.errors import UnknownNameError

    graph = infer(conv_bn_flatten(), torch.zeros(7, 1, 8, 8))
    with pytest.raises(UnknownNameError, match="did you mean '4:channels'"):
        graph["4:chanels"]


def test_where_the_code_cuts_an_axis_is_told():
    class Splits(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 9), nn.Linear(5, 3), nn.Linear(4, 3)

        def forward(self, x):
            front, back = F.relu(self.a(x)).split([5, 4], -1)
            return self.b(front) + self.c(back)

    graph = infer(Splits(), torch.zeros(3, 4))
    splits = [(group.width, group.split_at) for group in graph if group.prunable]
    assert splits == [
        (5, "split at index 5 of 9 by split_with_sizes in the model"),
        (4, "split at index 5 of 9 by split_with_sizes in the model"),
    ]
