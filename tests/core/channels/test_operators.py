"""The table of operators: every row exists, and every product is what brute force says."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

import nodelens.channels
from nodelens.channels.infer import infer
from nodelens.channels.rules import arithmetic, layers, products
from nodelens.channels.rules.table import FAMILIES, operator_table
from nodelens.masks import mask
from nodelens.removal.cost import costs

TABLE = operator_table()
SINCE = {"_grouped_mm": (2, 8), "_fused_rms_norm": (2, 8)}
"""The version of torch from which on a row's operator exists, where that is not the oldest."""

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


@pytest.mark.parametrize("name", TABLE)
def test_every_row_is_an_operator_of_torch(name):
    assert hasattr(torch.ops.aten, name) or SINCE.get(name, (0, 0)) > VERSION


def test_no_operator_has_two_rows():
    counts = Counter(row.name for family in FAMILIES.values() for row in family)
    assert {name: count for name, count in counts.items() if count > 1} == {}


def names_in(node: ast.AST) -> set[str]:
    return {
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and each.value in TABLE
    }


def tables(source: str) -> list[set[str]]:
    """Return the operators that stand together in a display of a module, if two or more do."""
    tree = ast.parse(source)
    literals = {
        id(node.slice)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal"
    }
    displays = ast.Tuple | ast.List | ast.Set | ast.Dict
    found = [
        names_in(node)
        for node in ast.walk(tree)
        if isinstance(node, displays) and id(node) not in literals
    ]
    return [names for names in found if len(names) > 1]


def test_a_second_table_would_be_found():
    assert tables('KNOWN = frozenset(["mm", "bmm"])') == [{"mm", "bmm"}]
    assert tables('Replacement = Literal["zero", "mean"]') == []


PACKAGE = Path(nodelens.channels.__file__).parents[1]
ELSEWHERE = [
    path
    for folder in ("channels", "masks", "removal", "capture")
    for path in sorted((PACKAGE / folder).rglob("*.py"))
    if not (path.parent.name == "rules" and path.stem in FAMILIES)
]


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_holds_a_table_of_operators(path):
    assert tables(path.read_text()) == []


# What each product does: with a tensor whose last axis are the nodes, of these leading sizes, and
# with a weight of this shape whose given axis reads the nodes.
OFFSETS = torch.tensor([2, 4], dtype=torch.int32)
CASES = [
    ("mm", lambda h, w: torch.mm(h, w), (2,), (16, 3), 0),
    ("mm", lambda h, w: torch.mm(w, h.t()), (2,), (3, 16), 1),
    ("addmm", lambda h, w: torch.addmm(torch.zeros(3), h, w), (2,), (16, 3), 0),
    ("addmm", lambda h, w: torch.addmm(torch.zeros(2), w, h.t()), (2,), (3, 16), 1),
    ("bmm", lambda h, w: torch.bmm(h, w), (2, 7), (2, 16, 3), 1),
    ("bmm", lambda h, w: torch.bmm(w, h.mT), (2, 7), (2, 3, 16), 2),
    ("baddbmm", lambda h, w: torch.baddbmm(torch.zeros(3), h, w), (2, 7), (2, 16, 3), 1),
    ("mv", lambda h, w: torch.mv(h, w), (2,), (16,), 0),
    ("mv", lambda h, w: torch.mv(w, h), (), (3, 16), 1),
    ("dot", lambda h, w: torch.dot(h, w), (), (16,), 0),
    ("dot", lambda h, w: torch.dot(w, h), (), (16,), 0),
    ("vdot", lambda h, w: torch.vdot(h, w), (), (16,), 0),
    ("vdot", lambda h, w: torch.vdot(w, h), (), (16,), 0),
    ("addmv", lambda h, w: torch.addmv(torch.zeros(3), w, h), (), (3, 16), 1),
    ("addmv", lambda h, w: torch.addmv(torch.zeros(2), h, w), (2,), (16,), 0),
    ("convolution", lambda h, w: F.conv1d(h.mT, w), (2, 7), (3, 16, 1), 1),
    ("convolution", lambda h, w: F.conv1d(h.mT, w), (2, 7), (3, 16, 4), 1),
    ("convolution", lambda h, w: F.conv_transpose1d(h.mT, w), (2, 7), (16, 3, 4), 0),
    ("_trilinear", lambda h, w: F.bilinear(h, torch.ones(2, 4), w), (2,), (3, 16, 4), 1),
    ("_trilinear", lambda h, w: F.bilinear(torch.ones(2, 4), h, w), (2,), (3, 4, 16), 2),
    ("_grouped_mm", lambda h, w: F.grouped_mm(h, w, offs=OFFSETS), (4,), (2, 16, 32), 1),
]
CASES = [case for case in CASES if SINCE.get(case[0], (0, 0)) <= VERSION]
each_product = pytest.mark.parametrize(
    ("name", "multiply", "lead", "shape", "axis"),
    CASES,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)],
)
KEPT = [0, 3, 4, 9, 15]
GONE = [node for node in range(16) if node not in KEPT]


class Multiplies(nn.Module):
    """Nodes of a linear layer, multiplied with a parameter by one operator."""

    def __init__(self, multiply, shape):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.w, self.multiply = nn.Linear(6, 16), nn.Parameter(torch.randn(shape)), multiply

    def weight(self, x):
        return self.w

    def forward(self, x):
        return self.multiply(self.a(x), self.weight(x))


class Chooses(Multiplies):
    """The same with a weight that the input chooses from two."""

    def __init__(self, multiply, shape):
        super().__init__(multiply, (2, *shape))

    def weight(self, x):
        return self.w[(x.sum() > 0).long()]


def without(model, axis):
    """Return a copy of the model whose parameter reads the removed nodes with weight zero."""
    model = copy.deepcopy(model)
    model.w.data.index_fill_(axis, torch.tensor(GONE), 0)
    return model


def test_every_product_has_a_case():
    assert {name for name, row in TABLE.items() if row.operands} == {
        *(name for name, *_ in CASES),
        *(name for name in SINCE if SINCE[name] > VERSION and TABLE[name].operands),
    }


@each_product
def test_the_parameter_is_what_reads_the_nodes_and_where(name, multiply, lead, shape, axis):
    group = infer(Multiplies(multiply, shape), torch.randn(*lead, 6))["a:neurons"]
    assert ("w", axis, "consumer") in [(s.parameter, s.axis, s.role) for s in group.slices]
    (site,) = (site for site in group.sites if site.point == "activation")
    assert (site.end, site.argument, site.along) == ("operand", "w", axis)


@each_product
@pytest.mark.parametrize("chooses", [False, True], ids=["own", "chosen"])
def test_masked_nodes_are_those_that_the_parameter_reads_as_zero(
    name, multiply, lead, shape, axis, chooses
):
    model = (Chooses if chooses else Multiplies)(multiply, shape)
    x, axis = torch.randn(*lead, 6), axis + chooses
    graph = infer(model, x)
    (group,) = (g for g in graph if any(s.parameter == "a.weight" and not s.axis for s in g.slices))
    assert ("w", axis, "consumer") in [(s.parameter, s.axis, s.role) for s in group.slices]
    with torch.no_grad(), mask(model, graph, {group.name: KEPT}):
        masked = model(x)
    assert torch.allclose(masked, without(model, axis)(x), atol=1e-5)
    assert not torch.allclose(masked, model(x), atol=1e-3)


@each_product
def test_multiply_accumulates_are_the_products_that_are_added_up(name, multiply, lead, shape, axis):
    model, x = Multiplies(multiply, shape), torch.randn(*lead, 6)
    of_linear = x.numel() * 16
    found = costs(model, infer(model, x), x)
    h, w = torch.ones(*lead, 16), torch.ones(shape)
    assert found.model.macs - of_linear == int(multiply(h, w).sum())
    if getattr(torch.ops.aten, name) in flop_registry:
        with FlopCounterMode(display=False) as counter:
            multiply(h, w)
        assert found.model.macs - of_linear == counter.get_total_flops() // 2


def test_attention_is_the_only_other_row_that_multiplies():
    assert {row.rule for row in TABLE.values() if row.macs and not row.operands} == {
        products.attention
    }
    assert all(row.macs for row in TABLE.values() if row.operands or row.rule is products.attention)


def test_multiply_accumulates_of_attention_are_those_of_torch():
    shapes = (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4)

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.k, self.v = (nn.Parameter(torch.randn(shape)) for shape in shapes[1:])

        def forward(self, q):
            return F.scaled_dot_product_attention(q, self.k, self.v)

    q = torch.randn(shapes[0])
    assert costs(Attends(), infer(Attends(), q), q).model.macs == sdpa_flop_count(*shapes) // 2


def test_every_average_can_leave_entries_out():
    rules = (arithmetic.average, layers.layer_norm, layers.group_norm)
    assert [name for name, row in TABLE.items() if row.rule in rules and not row.average] == []


ATEN, SECOND = torch.ops.aten, torch.tensor([1])
# One way to (16, …) entries of a (2, 16, 4) parameter by each operator that returns such entries.
MOVES = {
    "view": lambda w: ATEN.view(w, [2, 16, 4])[0],
    "_unsafe_view": lambda w: ATEN._unsafe_view(w, [2, 16, 4])[0],
    "_reshape_alias": lambda w: ATEN._reshape_alias(w, [2, 16, 4], [64, 4, 1])[0],
    "unsqueeze": lambda w: ATEN.unsqueeze(w, 0)[0, 0],
    "squeeze": lambda w: ATEN.squeeze(w[None], 0)[0],
    "permute": lambda w: ATEN.permute(w, [0, 2, 1])[0].mT,
    "t": lambda w: ATEN.t(ATEN.t(w[0])),
    "transpose": lambda w: ATEN.transpose(w, 1, 2)[0].mT,
    "expand": lambda w: ATEN.expand(w[:1], [2, 16, 4])[1],
    "split": lambda w: ATEN.split(w, 1)[0][0],
    "split_with_sizes": lambda w: ATEN.split_with_sizes(w, [1, 1])[1][0],
    "clone": lambda w: ATEN.clone(w)[0],
    "contiguous": lambda w: ATEN.contiguous(w.mT)[0].mT,
    "detach": lambda w: ATEN.detach(w)[0],
    "alias": lambda w: ATEN.alias(w)[0],
    "_to_copy": lambda w: ATEN._to_copy(w, dtype=torch.float64)[0].float(),
    "slice": lambda w: ATEN.slice(w, 2, 0, 3)[0],
    "select": lambda w: ATEN.select(w, 0, 1),
    "unbind": lambda w: ATEN.unbind(w)[1],
    "flip": lambda w: ATEN.flip(w, [2])[0],
    "roll": lambda w: ATEN.roll(w, [1], [2])[0],
    "gather": lambda w: ATEN.gather(w, 0, torch.ones(1, 16, 4, dtype=torch.long))[0],
    "index_select": lambda w: ATEN.index_select(w, 0, SECOND)[0],
    "index": lambda w: ATEN.index(w, [SECOND])[0],
    "_unsafe_index": lambda w: ATEN._unsafe_index(w, [SECOND])[0],
}


def test_every_operator_that_returns_entries_has_a_way():
    assert set(MOVES) == {name for name, row in TABLE.items() if row.entries}


@pytest.mark.parametrize("name", MOVES)
def test_a_parameter_is_followed_to_its_product(name):
    class Moves(Multiplies):
        def weight(self, x):
            return MOVES[name](self.w)

    model, x = Moves(torch.mm, (2, 16, 4)), torch.randn(3, 6)
    graph = infer(model, x)
    assert "a:neurons" in [group.name for group in graph]
    with torch.no_grad(), mask(model, graph, {"a:neurons": KEPT}):
        masked = model(x)
    assert torch.allclose(masked, without(model, 1)(x), atol=1e-5)
    assert not torch.allclose(masked, model(x), atol=1e-3)
