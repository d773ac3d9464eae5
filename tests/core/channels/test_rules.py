"""Every rule on its own operator, against what a reader would write down by hand.

Axes are written as letters in the order of the inputs' axes; ``(a b)`` is a product, ``[a b]`` a
concatenation, a digit a new axis of that size. ``!`` after a letter: frozen; ``~``: normalised.
"""

from __future__ import annotations

import string

import pytest
import torch
from torch.nn import functional as F

from nodelens.channels.axis_mode import AxisMode
from nodelens.channels.expressions import Concatenation, Product
from nodelens.channels.rules.table import operator_table
from nodelens.channels.trace import Trace, Traced


def axes_of(function, *inputs, weights=()):
    """Return the axes of what `function` returns, in letters; `weights` numbers the parameters."""
    trace, names = Trace(), {}
    letters = iter(string.ascii_lowercase)
    shapes = []
    for number, given in enumerate(inputs):
        tensor = given if isinstance(given, torch.Tensor) else torch.randn(given)
        axes = trace.free(tensor.shape)
        weight = number in weights
        known = Traced(axes, not weight, frozenset([f"p{number}"] if weight else []), trace.tick())
        trace.tensors[tensor] = known
        if weight:
            trace.parameters[f"p{number}"] = known
        names |= {axis.number: next(letters) for axis in axes}
        shapes.append(tensor)
    with torch.no_grad(), AxisMode(trace, operator_table()):
        results = function(*shapes)
    assert not trace.unknown
    results = results if isinstance(results, tuple | list) else [results]
    inside = " ".join(_text(trace, axis, names) for t in shapes for axis in trace.axes(t))
    outside = [" ".join(_text(trace, axis, names) for axis in trace.axes(t)) for t in results]
    return inside + " -> " + ", ".join(outside)


def _text(trace, axis, names):
    axis = trace.solver.resolve(axis)
    if isinstance(axis, Product):
        return "(" + " ".join(_text(trace, each, names) for each in axis.factors) + ")"
    if isinstance(axis, Concatenation):
        return "[" + " ".join(_text(trace, each, names) for each in axis.parts) + "]"
    if axis.size == 1:
        return "1"
    first = [n for n in names if trace.solver.resolve(trace.solver.variables[n]) is axis]
    text = names[first[0]] if first else str(axis.size)
    return text + ("!" if axis.frozen else "") + ("~" if axis.normalised else "")


VIEWS = [
    (lambda x: x.view(2, 15), [(2, 3, 5)], "a b c -> a (b c)"),
    (lambda x: x.view(2, 3, 5), [(2, 15)], "a (3 5) -> a 3 5"),
    (lambda x: x.view(3, 10), [(6, 5)], "(3 2) b -> 3 (2 b)"),
    (lambda x: x.view(3, 2), [(2, 3)], "a! b! -> 3! 2!"),
    (lambda x: x.unsqueeze(1), [(2, 3)], "a b -> a 1 b"),
    (lambda x: x.permute(2, 0, 1), [(2, 3, 5)], "a b c -> c a b"),
    (lambda x: x.transpose(0, 1), [(2, 3)], "a b -> b a"),
    (lambda x: x.unsqueeze(0).expand(7, 2), [(2,)], "a -> 7 a"),
    (lambda x: x.repeat(2, 1), [(3, 5)], "a b -> (2 a) b"),
    (lambda x: x.as_strided((3, 5), (5, 1)), [(3, 5)], "a b -> a b"),
    (lambda x: x.as_strided((3, 5), (1, 3)), [(3, 5)], "a! b! -> 3! 5!"),
    (lambda x, y: torch.cat([x, y], 1), [(2, 3), (2, 5)], "a b a d -> a [b d]"),
    (lambda x, y: torch.stack([x, y]), [(2, 3), (2, 3)], "a b a b -> 2! a b"),
    (lambda x: x.split([3, 4], 1), [(2, 7)], "a [3 4] -> a 3, a 4"),
    (lambda x: x.chunk(2, 1), [(2, 6)], "a [3 3] -> a 3, a 3"),
    (lambda x: F.pad(x, (1, 0)), [(2, 3)], "a b -> a [1 b]"),
    (lambda x: F.pad(x, (2, 0)), [(2, 3)], "a b -> a [2! b]"),
    (lambda x: F.pad(x, (-1, 0)), [(2, 3)], "a b! -> a 2!"),
    (lambda x: F.glu(x, 1), [(2, 6)], "a [3 3] -> a 3"),
    (lambda x: x.clone(), [(2, 3)], "a b -> a b"),
    (lambda x: x.new_zeros(2, 3), [(5,)], "a -> 2 3"),
]

SELECTIONS = [
    (lambda x: x[:, 2:5], [(2, 7)], "a [2 3 2] -> a 3"),
    (lambda x: x[:, ::2], [(2, 7)], "a b! -> a 4!"),
    (lambda x: x[:, 1], [(2, 7)], "a b! -> a"),
    (lambda x: x.unbind(1), [(2, 2)], "a b! -> a, a"),
    (lambda x: x.flip(1), [(2, 3)], "a b! -> a b!"),
    (lambda x: x.roll(1, 1), [(2, 3)], "a b! -> a b!"),
    (lambda x: x[torch.tensor([1, 0, 1])], [(2, 3)], "a! b -> 3! b"),
    (lambda x: x[:, torch.tensor([1, 0])], [(2, 3)], "a b! -> a 2!"),
    (lambda x: x.index_select(0, torch.tensor([1, 0, 1])), [(2, 3)], "a! b -> 3! b"),
    (
        lambda x, i: x.gather(1, i),
        [(2, 3), torch.zeros(2, 5, dtype=torch.long)],
        "a b! a d -> a d",
    ),
    (
        lambda x, i, y: x.scatter(1, i, y),
        [(2, 3), torch.zeros(2, 5, dtype=torch.long), (2, 5)],
        "a b! a d! a f! -> a b!",
    ),
    (
        lambda x, i, y: x.index_add(0, i, y),
        [(2, 3), torch.zeros(5, dtype=torch.long), (5, 3)],
        "a! b c! d! b -> a! b",
    ),
    (
        lambda x, i, y: x.index_put((i,), y),
        [(2, 3), torch.zeros(5, dtype=torch.long), (5, 3)],
        "a! b c! d! b -> a! b",
    ),
    (lambda x: x.sort(1), [(2, 3)], "a b! -> a 3!, a 3!"),
    (lambda x: x.topk(2, 1), [(2, 3)], "a b! -> a 2!, a 2!"),
    (lambda x: x.nonzero().sum(), [(2, 3)], "a! b! -> "),
]

ARITHMETIC = [
    (lambda x, y: x + y, [(2, 3), (3,)], "a b b -> a b"),
    (lambda x, y: x * y, [(2, 1), (2, 3)], "a 1 a d -> a d"),
    (lambda x, y: x.add_(y), [(2, 3), (2, 3)], "a b a b -> a b"),
    (lambda x: F.hardswish(x), [(2, 3)], "a b -> a b"),
    (lambda x, y: torch.where(x > 0, x, y), [(2, 3), (2, 3)], "a b a b -> a b"),
    (lambda x, w: F.prelu(x, w), [(2, 3), (3,)], "a b b -> a b"),
    (lambda x: x.sum(1), [(2, 3)], "a b! -> a"),
    (lambda x: x.amax(1, keepdim=True), [(2, 3)], "a b! -> a 1"),
    (lambda x: x.mean(1), [(2, 3)], "a b~ -> a"),
    (lambda x: torch.var_mean(x, 1), [(2, 3)], "a b~ -> a, a"),
    (lambda x: x.norm(dim=1), [(2, 3)], "a b~ -> a"),
    (lambda x: x.std(), [(2, 3)], "a~ b~ -> "),
    (lambda x: x.softmax(1), [(2, 3)], "a b! -> a b!"),
    (lambda x: x.cumsum(-1), [(2, 3)], "a b! -> a b!"),
    (lambda x: x.triu(), [(2, 3, 5)], "a b! c! -> a b! c!"),
    (lambda x: torch.fft.fft(x, dim=1).real, [(2, 3)], "a b! -> a 3!"),
    (lambda x, y: F.mse_loss(x, y), [(2, 3), (2, 3)], "a! b! c! d! -> "),
]

PRODUCTS = [
    (lambda x, w: x @ w, [(2, 3), (3, 5)], "a b b d -> a d"),
    (lambda w, x: w @ x, [(2, 3), (3, 5)], "a b b d -> a d"),
    (lambda x, w, b: F.linear(x, w, b), [(2, 3), (5, 3), (5,)], "a b c b c -> a c"),
    (lambda x, w: x @ w, [(7, 2, 3), (7, 3, 5)], "a b c a c f -> a b f"),
    (lambda x, w: x @ w, [(2, 3), (3,)], "a b b -> a"),
    (
        lambda x, w: torch.einsum("bnhd,hde->bne", x, w),
        [(2, 3, 5, 7), (5, 7, 11)],
        "a b c d c d g -> a b g",
    ),
    (
        lambda x, w, y: F.bilinear(x, y, w),
        [(2, 3), (7, 3, 5), (2, 5)],
        "a b c b e a e -> a c",
    ),
]


@pytest.mark.parametrize(("function", "inputs", "expected"), VIEWS)
def test_views(function, inputs, expected):
    assert axes_of(function, *inputs) == expected


@pytest.mark.parametrize(("function", "inputs", "expected"), SELECTIONS)
def test_selections(function, inputs, expected):
    assert axes_of(function, *inputs) == expected


@pytest.mark.parametrize(("function", "inputs", "expected"), ARITHMETIC)
def test_arithmetic(function, inputs, expected):
    assert axes_of(function, *inputs) == expected


@pytest.mark.parametrize(("function", "inputs", "expected"), PRODUCTS)
def test_products_of_data_and_weight(function, inputs, expected):
    weights = [n for n in range(len(inputs)) if n > 0]
    if len(inputs) == 3 and len(inputs[1]) == 3:
        weights = [1]
    assert axes_of(function, *inputs, weights=weights) == expected


def test_a_product_of_activations_freezes_what_it_sums_over():
    assert axes_of(torch.matmul, (2, 3), (3, 5)) == "a b! b! d -> a d"


def test_a_product_of_parameters_depends_on_how_many_nodes_there_are():
    assert axes_of(torch.matmul, (2, 3), (3, 5), weights=(0, 1)) == "a b~ b~ d -> a d"


def attend(q, k, v, mask=None, gqa=False):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=gqa)


ATTENTION = [
    (attend, [(2, 3, 5, 7), (2, 3, 11, 7), (2, 3, 11, 7)], "a b c d! a b g d! a b g l -> a b c l"),
    (
        lambda q, k, v: attend(q, k, v, gqa=True),
        [(2, 6, 5, 7), (2, 3, 11, 7), (2, 3, 11, 7)],
        "a (f 2) c d! a f g d! a f g l -> a (f 2) c l",
    ),
    (
        attend,
        [(2, 3, 5, 7), (2, 3, 11, 7), (2, 3, 11, 7), (1, 3, 5, 11)],
        "a b c d! a b g d! a b g l 1 b c g -> a b c l",
    ),
]


@pytest.mark.parametrize(("function", "inputs", "expected"), ATTENTION)
def test_attention(function, inputs, expected):
    assert axes_of(function, *inputs) == expected


LAYERS = [
    (lambda x, w, b: F.conv2d(x, w, b), [(2, 3, 9, 9), (5, 3, 3, 3), (5,)], (1, 2),
     "a b c! d! e b g h e -> a e 7! 7!"),
    (lambda x, w: F.conv1d(x, w), [(2, 3, 9), (5, 3, 1)], (1,), "a b c d b 1 -> a d c"),
    (lambda x, w: F.conv_transpose1d(x, w), [(2, 3, 9), (3, 5, 3)], (1,),
     "a b c! b e f -> a e 11!"),
    (lambda x, w: F.conv1d(x, w, groups=3), [(2, 3, 9), (3, 1, 3)], (1,),
     "a b c! b 1 f -> a b 7!"),
    (lambda x, w: F.conv1d(x, w, groups=3), [(2, 3, 9), (6, 1, 3)], (1,),
     "a b c! (b 2) 1 f -> a (b 2) 7!"),
    (lambda x, w: F.conv1d(x, w, groups=2), [(2, 6, 9), (10, 3, 3)], (1,),
     "a (2 e) c! (2 5) e f -> a (2 5) 7!"),
    (lambda x, w: F.conv_transpose1d(x, w, groups=2), [(2, 6, 9), (6, 5, 3)], (1,),
     "a (2 3) c! (2 3) e f -> a (2 e) 11!"),
    (lambda i, w: F.embedding(i, w), [torch.zeros(2, 3, dtype=torch.long), (7, 5)], (1,),
     "a b c! d -> a b d"),
    (lambda x, m, v, w: F.batch_norm(x, m, v.abs(), w), [(2, 3, 5), (3,), (3,), (3,)], (1, 2, 3),
     "a b c b b b -> a b c"),
    (lambda x, w: F.layer_norm(x, (3,), w), [(2, 3), (3,)], (1,), "a b~ b~ -> a b~"),
    (lambda x, w: F.rms_norm(x, (3,), w), [(2, 3), (3,)], (1,), "a b~ b~ -> a b~"),
    (lambda x, w: F.group_norm(x, 2, w), [(2, 6, 5), (6,)], (1,),
     "a (2 3~) c~ (2 3~) -> a (2 3~) c~"),
    (lambda x, w: F.instance_norm(x, weight=w), [(2, 3, 5), (3,)], (1,),
     "a b c~ b -> a b c~"),
    (lambda v, g: torch._weight_norm(v, g, 0), [(2, 3), (2, 1)], (0, 1), "a b~ a 1 -> a b~"),
]  # fmt: skip

POSITIONS = [
    (lambda x: F.max_pool2d(x, 2), [(2, 3, 4, 6)], "a b c! d! -> a b 2! 3!"),
    (lambda x: F.max_pool2d(x, 2), [(3, 4, 6)], "a b! c! -> a 2! 3!"),
    (lambda x: F.avg_pool1d(x, 2), [(2, 3, 4)], "a b c! -> a b 2!"),
    (lambda x: F.adaptive_avg_pool2d(x, 2), [(2, 3, 4, 6)], "a b c! d! -> a b 2! 2!"),
    (lambda x: F.interpolate(x, scale_factor=2), [(2, 3, 5)], "a b c! -> a b 10!"),
    (lambda x: F.pad(x, (1, 1), mode="reflect"), [(2, 3, 5)], "a b c! -> a b 7!"),
    (lambda x: F.pixel_shuffle(x, 2), [(5, 12, 3, 7)], "a (3 2! 2!) c d -> a 3 (c 2!) (d 2!)"),
    (
        lambda x: F.pixel_unshuffle(x, 2),
        [(5, 3, 6, 14)],
        "a b (3 2!) (7 2!) -> a (b 2! 2!) 3 7",
    ),
    (lambda x: F.channel_shuffle(x, 2), [(5, 6, 3, 3)], "a (2 3) c d -> a (3 2) c d"),
    (lambda x: F.unfold(x, 2), [(5, 3, 4, 4)], "a b c! d! -> a (b 4!) 9!"),
    (lambda x: F.fold(x, (4, 4), 2), [(5, 12, 9)], "a (3 4!) c! -> a 3 4! 4!"),
    (lambda x: x.unfold(1, 3, 1), [(2, 5)], "a b! -> a 3! 3!"),
    (lambda x: x.diagonal(0, 1, 2), [(2, 5, 5)], "a b! c! -> a 5!"),
]


@pytest.mark.parametrize(("function", "inputs", "weights", "expected"), LAYERS)
def test_layers(function, inputs, weights, expected):
    assert axes_of(function, *inputs, weights=weights) == expected


@pytest.mark.parametrize(("function", "inputs", "expected"), POSITIONS)
def test_positions(function, inputs, expected):
    assert axes_of(function, *inputs) == expected


def test_grouped_products_keep_tokens_and_freeze_experts():
    offsets = torch.tensor([2, 4], dtype=torch.int32)
    text = axes_of(
        lambda x, w: F.grouped_mm(x, w, offs=offsets), (4, 16), (2, 16, 32), weights=(1,)
    )
    assert text == "a b c! b e -> a e"
