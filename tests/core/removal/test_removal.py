"""Removal: what is sliced, what follows, and that nothing changes when it is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.channels.infer import infer
from nodelens.errors import ModelError, UnknownNameError
from nodelens.masks import mask
from nodelens.removal.removal import remove


def randomised(model):
    """Return the model in float64, in evaluation mode, with every number random."""
    model = model.double().eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=draw).double())
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.5)
    return model


def halves(graph):
    return {g.name: list(range(0, g.width, 2)) for g in graph if g.prunable}


def check_exact(model, *inputs, keep=None):
    """Remove, compare with the masked model, and return the removed model with the result."""
    graph = infer(model, *inputs)
    keep = keep or halves(graph)
    with torch.no_grad(), mask(model, graph, keep):
        masked = model(*inputs)
    result = remove(model, graph, keep, *inputs)
    with torch.no_grad():
        assert torch.allclose(model(*inputs), masked, rtol=1e-10, atol=1e-10)
    assert [verdict.status for verdict in result.verdicts] == ["exact"] * len(keep)
    return result


IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
SIGNAL = torch.randn(2, 3, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
VOLUME = torch.randn(2, 3, 5, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
ROWS = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def pooled(*layers, channels):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


STANDARD = {
    "Linear": (lambda: nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3)), ROWS),
    "Conv1d": (lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.Conv1d(8, 4, 3)), SIGNAL),
    "Conv2d": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)), IMAGE),
    "Conv3d": (lambda: nn.Sequential(nn.Conv3d(3, 8, 3), nn.Conv3d(8, 4, 3)), VOLUME),
    "ConvTranspose1d": (
        lambda: nn.Sequential(nn.ConvTranspose1d(3, 8, 3), nn.ConvTranspose1d(8, 4, 3)),
        SIGNAL,
    ),
    "ConvTranspose2d": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 8, 3, 2), nn.ConvTranspose2d(8, 4, 3)),
        IMAGE,
    ),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1)
        ),
        IMAGE,
    ),
    "depthwise with a multiplier": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(16, 4, 1)
        ),
        IMAGE,
    ),
    "transposed depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 8, 2, 2, groups=8), nn.Conv2d(8, 4, 1)
        ),
        IMAGE,
    ),
    "grouped": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 4, 1)
        ),
        IMAGE,
    ),
    "BatchNorm2d": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)),
        IMAGE,
    ),
    "InstanceNorm2d": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 4, 1)
        ),
        IMAGE,
    ),
    "PReLU": (lambda: nn.Sequential(nn.Linear(7, 8), nn.PReLU(8), nn.Linear(8, 3)), ROWS),
    "flatten": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 3)),
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", STANDARD)
def test_standard_modules_are_exact_and_say_their_new_sizes(name):
    build, x = STANDARD[name]
    model = randomised(build())
    result = check_exact(model, x)
    assert result.verdicts
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == module.weight.shape
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            assert (module.num_features,) == module.weight.shape
        if isinstance(module, nn.modules.conv._ConvNd):
            sizes = (module.in_channels, module.out_channels // module.groups)
            if not module.transposed:
                sizes = (module.out_channels, module.in_channels // module.groups)
            assert sizes == module.weight.shape[:2]
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_a_removed_model_that_is_built_anew_takes_the_state():
    build, x = STANDARD["BatchNorm2d"]
    model, other = randomised(build()), build().double().eval()
    graph = infer(model, x)
    for each in (model, other):
        remove(each, graph, halves(graph), x)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))


class NormedGate(nn.Module):
    """What a removed node would read as is not zero where the norm sees it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        return self.norm(torch.sigmoid(x))


NORMALISED = {
    "LayerNorm": (
        lambda: nn.Sequential(nn.Linear(7, 8), nn.LayerNorm(8), nn.Linear(8, 3)),
        ROWS,
        {"normalized_shape": (4,)},
    ),
    "LayerNorm without weights": (
        lambda: nn.Sequential(
            nn.Linear(7, 8), nn.LayerNorm(8, elementwise_affine=False), nn.Linear(8, 3)
        ),
        ROWS,
        {"normalized_shape": (4,)},
    ),
    "RMSNorm": (
        lambda: nn.Sequential(nn.Linear(7, 8), nn.RMSNorm(8), nn.Linear(8, 3)),
        ROWS,
        {"normalized_shape": (4,)},
    ),
    "LayerNorm after a sigmoid": (
        lambda: nn.Sequential(nn.Linear(7, 8), NormedGate(), nn.Linear(8, 3)),
        ROWS,
        {},
    ),
    "GroupNorm of one group": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(1, 8), nn.Conv2d(8, 3, 1)),
        IMAGE,
        {"num_channels": 4, "num_groups": 1},
    ),
}


@pytest.mark.parametrize("name", NORMALISED)
def test_normalised_groups_are_shifted_and_checked_all_the_same(name):
    build, x, attributes = NORMALISED[name]
    model = randomised(build())
    graph = infer(model, x)
    result = remove(model, graph, halves(graph), x)
    verdict = result.verdicts[0]
    assert verdict.status == "shifted"
    assert verdict.difference > 1e-3
    assert str(verdict).endswith(f"4 of 8 nodes: shifted by {verdict.difference:.2g} (normalised)")
    for attribute, value in attributes.items():
        assert getattr(model[1], attribute) == value
    assert model(x).isfinite().all()


def test_group_norm_loses_whole_groups_and_members_of_each():
    model = randomised(nn.Sequential(nn.Conv2d(3, 12, 1), nn.GroupNorm(4, 12), nn.Conv2d(12, 3, 1)))
    graph = infer(model, IMAGE)
    by_width = {group.width: group.name for group in graph if group.prunable}
    result = remove(model, graph, {by_width[4]: [1, 2], by_width[3]: [0, 2]}, IMAGE)
    assert {verdict.status for verdict in result.verdicts} == {"exact", "shifted"}
    norm = model[1]
    assert (norm.num_groups, norm.num_channels, norm.weight.shape) == (2, 4, (4,))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 12, 3, padding=1)
        self.outer = nn.Conv2d(12, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.outer(F.relu(self.inner(x)))
        return self.head(x.mean((2, 3)))


class Joined(nn.Module):
    """Two branches that are concatenated: each loses its segment of what follows."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
        self.norm = nn.BatchNorm2d(10)
        self.read = nn.Conv2d(10, 5, 1)

    def forward(self, x):
        return self.read(F.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1)))).sum((2, 3))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.fused, self.down = nn.Linear(7, 16), nn.Linear(8, 3)

    def forward(self, x):
        gate, up = self.fused(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Excited(nn.Module):
    """Squeeze and excite."""

    def __init__(self):
        super().__init__()
        self.stem, self.read = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x):
        x = self.stem(x)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.read(x * gate[:, :, None, None])


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner, self.head = nn.Linear(7, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(F.relu(self.inner(F.relu(self.inner(self.first(x))))))


@pytest.mark.parametrize(
    ("build", "x"),
    [(Residual, IMAGE), (Joined, IMAGE), (Gated, ROWS), (Excited, IMAGE), (Shared, ROWS)],
)
def test_structures_are_exact(build, x):
    model = randomised(build())
    assert check_exact(model, x).verdicts


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(torch.tanh(self.mix(self.embed(tokens))))


def test_ties_stay_tied():
    model = randomised(Tied())
    weight = model.embed.weight
    tokens = torch.arange(10).view(2, 5)
    check_exact(model, tokens)
    assert model.head.weight is model.embed.weight is weight
    assert weight.shape[0] == 11
    assert weight.shape[1] < 6
    assert model.embed.embedding_dim == weight.shape[1]
    assert model.head.in_features == model.head.weight.shape[1]


def test_parametrised_weights_are_sliced_where_they_live():
    model = nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 1))
    for layer in (model[0], model[2]):
        nn.utils.parametrizations.weight_norm(layer)
    model = randomised(model)
    check_exact(model, SIGNAL)
    assert model[0].parametrizations.weight.original1.shape == (4, 3, 3)
    assert (model[0].out_channels, model[2].in_channels) == (4, 4)


class Attention(nn.Module):
    """Heads kept in attributes: one that must follow, a tuple, one that the forward never reads."""

    def __init__(self, heads=4, size=3):
        super().__init__()
        width = heads * size
        self.num_heads, self.size, self.shape, self.n_heads = heads, size, (heads, size), heads
        self.q, self.k, self.v = (nn.Linear(7, width) for _ in range(3))
        self.out = nn.Linear(width, 5)

    def forward(self, x):
        q, k = (
            f(x).view(*x.shape[:-1], self.num_heads, self.size).transpose(1, 2)
            for f in (self.q, self.k)
        )
        v = self.v(x).unflatten(-1, self.shape).transpose(1, 2)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


TOKENS = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_head_counts_are_found_and_checked():
    model = randomised(Attention())
    graph = infer(model, TOKENS)
    heads = next(g for g in graph if g.prunable and g.width == 4)
    result = check_exact(model, TOKENS, keep={heads.name: [1, 2, 3]})
    assert (model.num_heads, model.size, model.shape, model.n_heads) == (3, 3, (3, 3), 3)
    assert {rule.attribute for rule in result.rules} == {"num_heads", "shape[0]", "n_heads"}
    assert all(rule.module == "Attention" for rule in result.rules)


def test_what_was_found_serves_as_hints():
    first, second = randomised(Attention()), randomised(Attention())
    graph = infer(first, TOKENS)
    heads = next(g.name for g in graph if g.prunable and g.width == 4)
    rules = remove(first, graph, {heads: [0, 1]}, TOKENS).rules
    again = remove(second, graph, {heads: [0, 1]}, TOKENS, hints=rules)
    assert set(again.rules) == set(rules)
    assert torch.equal(first(TOKENS), second(TOKENS))


class Fixed(nn.Module):
    """Its width is written into the code: nothing can be removed."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(7, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.c(F.relu(self.b(self.a(x).reshape(-1, 8))))


def everything(model, optimizer=None):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = {
        name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
    }
    attributes = {path: repr(module) for path, module in model.named_modules()}
    held = copy.deepcopy(optimizer.state_dict()["state"]) if optimizer else {}
    return state, grads, attributes, held


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_a_refused_removal_changes_nothing():
    model = Fixed().double()
    optimizer = torch.optim.Adam(model.parameters())
    model(ROWS).sum().backward()
    optimizer.step()
    graph = infer(model, ROWS)
    before, parameters = everything(model, optimizer), list(model.parameters())
    random = torch.random.get_rng_state()
    with pytest.raises(
        ModelError, match=r"nodes of a:neurons cannot be removed: in .* is as before"
    ):
        remove(model, graph, {"a:neurons": [0, 1], "b:neurons": [2]}, ROWS, optimizer=optimizer)
    assert same(everything(model, optimizer), before)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert torch.equal(random, torch.random.get_rng_state())
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("keep", "error", "message"),
    [
        ({"0:neuron": [0]}, UnknownNameError, "did you mean '0:neurons'"),
        (
            {"2:neurons": [0]},
            ModelError,
            "2:neurons is frozen, no node can be removed: model output",
        ),
        ({"0:neurons": []}, ModelError, "at least one of its 8 nodes must be kept"),
        ({"0:neurons": [8]}, ModelError, r"nodes run from 0 to 7, got \[8\]"),
        ({"0:neurons": [True] * 7}, ModelError, "a mask of 7 for 8 nodes"),
    ],
)
def test_mistakes_are_named(keep, error, message):
    model = STANDARD["Linear"][0]().double()
    with pytest.raises(error, match=message):
        remove(model, infer(model, ROWS), keep, ROWS)


def test_a_graph_of_another_model_is_refused():
    graph = infer(nn.Sequential(nn.Linear(7, 16), nn.Linear(16, 3)).double(), ROWS)
    model = STANDARD["Linear"][0]().double()
    with pytest.raises(ModelError, match=r"0\.weight does not have the shape .* infer the groups"):
        remove(model, graph, {"0:neurons": [0]}, ROWS)


def test_keeping_every_node_does_nothing():
    model = STANDARD["Linear"][0]().double()
    before = everything(model)
    result = remove(model, infer(model, ROWS), {"0:neurons": range(8)}, ROWS)
    assert same(everything(model), before)
    assert result.notes == ("every node is kept: nothing was removed",)


def test_modes_gradients_and_requires_grad_stay():
    model = STANDARD["BatchNorm2d"][0]()
    model[0].bias.requires_grad_(False)
    model[1].eval()
    model(IMAGE.float()).sum().backward()
    grad = model[2].weight.grad.clone()
    graph = infer(model, IMAGE.float())
    remove(model, graph, {"0:channels": [0, 5]}, IMAGE.float())
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert not model[0].bias.requires_grad
    assert torch.equal(model[2].weight.grad, grad[:, [0, 5]])
    assert model[0].weight.dtype == torch.float32


OPTIMIZERS = {
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "SGD": {"momentum": 0.9},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adagrad": {},
    "Adadelta": {},
    "Adamax": {},
    "NAdam": {},
    "RAdam": {},
    "Rprop": {},
    "ASGD": {},
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_goes_on_as_if_the_model_had_been_small(kind):
    options = {"lr": 0.1, **OPTIMIZERS[kind]}
    model = nn.Sequential(nn.Linear(7, 8), nn.Linear(8, 3)).double()
    optimizer = getattr(torch.optim, kind)(model.parameters(), **options)
    loss = model(ROWS).square().sum()
    loss.backward()
    optimizer.step()
    state = copy.deepcopy(optimizer.state[model[0].weight])
    graph = infer(model, ROWS)
    result = remove(model, graph, {"0:neurons": [1, 3, 4]}, ROWS, optimizer=optimizer)
    sliced = {k: v for k, v in optimizer.state[model[0].weight].items() if v.ndim}
    assert sliced
    for key, value in sliced.items():
        assert torch.equal(value, state[key][[1, 3, 4]])
    # The graph of the step before is still alive through `loss`.
    optimizer.zero_grad()
    model(ROWS).square().sum().backward()
    optimizer.step()
    assert model[0].weight.shape == (3, 7)
    assert loss.requires_grad
    assert result.notes == ()


@pytest.mark.parametrize("kind", ["Adafactor", "LBFGS"])
def test_state_that_cannot_be_carried_starts_anew_and_is_named(kind):
    model = nn.Sequential(nn.Linear(7, 8), nn.Linear(8, 3)).double()
    optimizer = getattr(torch.optim, kind)(model.parameters())

    def loss():
        optimizer.zero_grad()
        value = model(ROWS).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    result = remove(model, infer(model, ROWS), {"0:neurons": [1, 3]}, ROWS, optimizer=optimizer)
    assert any("starts anew" in note for note in result.notes)
    optimizer.step(loss)


class Own(torch.optim.SGD):
    pass


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (
            lambda model: torch.optim.Adam(copy.deepcopy(model).parameters()),
            "the optimizer holds no parameter that was sliced",
        ),
        (
            lambda model: Own(model.parameters(), lr=0.1),
            "state of Own, not of torch, was sliced where it has",
        ),
    ],
)
def test_an_optimizer_of_another_model_or_library_is_doubted(make, note):
    model = nn.Sequential(nn.Linear(7, 8), nn.Linear(8, 3)).double()
    graph = infer(model, ROWS)
    result = remove(model, graph, {"0:neurons": [1, 3]}, ROWS, optimizer=make(model))
    assert [found.startswith(note) for found in result.notes] == [True]


def test_an_optimizer_of_some_parameters_is_none_to_doubt():
    model = nn.Sequential(nn.Linear(7, 8), nn.Linear(8, 3)).double()
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1, momentum=0.9)
    graph = infer(model, ROWS)
    assert remove(model, graph, {"0:neurons": [1]}, ROWS, optimizer=optimizer).notes == ()


def test_half_precision_is_compared_in_float64_and_stays():
    model = randomised(STANDARD["Linear"][0]()).bfloat16()
    x = ROWS.bfloat16()
    result = remove(model, infer(model, x), {"0:neurons": [0, 1]}, x)
    assert result.verdicts[0].difference < 1e-12
    assert result.notes == ()
    assert model[0].weight.dtype == torch.bfloat16


class Insists(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(7, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(self.a(x.reshape(-1).view(torch.int32).view(torch.float32).view(x.shape)))


def test_a_model_that_insists_on_its_type_is_compared_in_it():
    model = Insists()
    x = ROWS.float()
    graph = infer(model, x)
    assert graph.traced
    result = remove(model, graph, {"a:neurons": [0, 1]}, x)
    assert result.notes == ("compared in the model's own data type, to 0.0001 of its outputs",)


def test_weights_without_values_cannot_be_checked():
    model = STANDARD["Linear"][0]().to("meta")
    x = torch.empty(5, 7, device="meta")
    with pytest.raises(ModelError, match="weights on the meta device have no values"):
        remove(model, infer(model, x), {"0:neurons": [0]}, x)
