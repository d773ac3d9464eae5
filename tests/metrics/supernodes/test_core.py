"""Supernodes, their halo and SCAR against the definitions, by hand."""

import math

import pytest
import torch

import nodelens
from nodelens.testing.rewritings import REWRITINGS
from nodelens.testing.world import make_world
from nodelens.testing.world_view import view_of
from nodelens_metrics.mathematics.tiles import PackedCorrelations
from nodelens_metrics.supernodes.core import (
    CoreConnection,
    CoreRedundancy,
    Scar,
    Supernode,
    SupernodeMass,
    connection,
    core_of,
    core_size,
    halo_of,
    protection,
    redundancy_to,
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def made(correlation):
    """Return correlations as they are read from a pass."""
    ones = torch.ones(len(correlation), dtype=torch.float64)
    return PackedCorrelations(correlation.flatten(), ones, torch.tensor(100.0))


def scored(metric, world):
    return metric.score(view_of(world, metric.statistics))


@pytest.mark.parametrize(
    ("nodes", "share", "size"), [(14336, 0.01, 143), (10, 0.01, 1), (8, 0.5, 4)]
)
def test_the_size_of_the_core(nodes, share, size):
    assert core_size(nodes, share) == size


def test_the_core_holds_ties_and_no_dead_nodes():
    assert core_of(tensor(3, 1, 3, 0), 0.25).tolist() == [True, False, True, False]
    assert core_of(tensor(0, 0, 0), 0.5).tolist() == [False] * 3


def test_connection_is_the_weight_on_the_core_s_outputs():
    outgoing = tensor(8, 1, 0, 1).unsqueeze(0)
    outgoing = torch.cat([outgoing, tensor(3, 0, 1, 0).unsqueeze(0), torch.zeros(1, 4)])
    found = connection(outgoing, torch.tensor([True, False, False]), support=0.25)
    assert found.tolist() == pytest.approx([0.8, 0.75, 0.0])


def test_only_positive_correlation_is_redundant():
    correlation = torch.tensor([[1.0, 0.6, -0.9], [0.6, 1.0, 0.0], [-0.9, 0.0, 1.0]]).double()
    found = redundancy_to(made(correlation), torch.tensor([True, False, False]), top=5)
    assert found.tolist() == pytest.approx([0.0, -0.5 * math.log(1 - 0.36), 0.0], rel=1e-5)


def test_redundancy_averages_over_the_closest_supernodes():
    correlation = torch.eye(4, dtype=torch.float64)
    correlation[3, :3] = correlation[:3, 3] = tensor(0.1, 0.5, 0.9)
    core = torch.tensor([True, True, True, False])
    expected = sum(-0.5 * math.log(1 - r * r) for r in (0.5, 0.9)) / 2
    assert redundancy_to(made(correlation), core, top=2)[3].item() == pytest.approx(
        expected, rel=1e-5
    )


def test_the_halo_is_the_best_connected_tenth_of_the_others():
    conn = torch.linspace(0, 1, 21, dtype=torch.float64)
    core = torch.zeros(21, dtype=torch.bool)
    core[20] = True
    assert halo_of(conn, core, 0.1).nonzero().flatten().tolist() == [18, 19]


@pytest.mark.parametrize(
    ("rank", "factor"), [(0.0, 1.0), (0.5, 0.997), (0.8, 0.866), (0.9, 0.656), (1.0, 0.2)]
)
def test_protect_is_the_published_function_of_the_rank(rank, factor):
    shared = torch.linspace(0, 1, 11, dtype=torch.float64)
    found = protection(shared, torch.ones(11, dtype=torch.bool))
    assert found[round(10 * rank)].item() == pytest.approx(factor, abs=1e-3)


def test_scar_is_the_proxy_outside_the_halo_and_puts_the_core_on_top():
    world = make_world(nodes=12)
    q = world.activation * world.gradient
    proxy = 0.5 * q.flatten(0, 1).square().mean(0)
    metric = Scar(core=0.2, halo=0.4, support=0.5)
    found, core = scored(metric, world), scored(Supernode(core=0.2), world).bool()
    conn = scored(CoreConnection(core=0.2, support=0.5), world)
    shared = scored(CoreRedundancy(core=0.2), world)
    halo = halo_of(conn, core, 0.4)
    plain = ~core & ~halo
    torch.testing.assert_close(found[plain], proxy[plain])
    torch.testing.assert_close(found[halo], (proxy * protection(shared, halo))[halo])
    assert found[core].min() > found[~core].max()
    lowered = scored(Scar(variant="conn", core=0.2, halo=0.4, support=0.5), world)
    expected = proxy * (1 - conn + conn * protection(shared, halo))
    torch.testing.assert_close(lowered[~core], expected[~core])


@pytest.mark.parametrize(
    "metric",
    [
        Supernode(core=0.4),
        SupernodeMass(core=0.4),
        CoreConnection(core=0.4, support=0.4),
        CoreRedundancy(core=0.4),
        Scar(core=0.4, halo=0.5, support=0.4),
        Scar(variant="conn", core=0.4, halo=0.5, support=0.4),
    ],
    ids=repr,
)
def test_only_what_reads_the_write_support_of_several_supernodes_depends_on_scale(metric):
    world = make_world(nodes=12, seed=2)
    assert scored(Supernode(core=0.4), world).sum() >= 3
    same = torch.allclose(scored(metric, world), scored(metric, REWRITINGS["functional"](world)))
    assert same == ("functional" in metric.info.invariances)
    assert same != hasattr(metric, "support")


def test_redundancy_is_the_correlation_of_q():
    world = make_world()
    q = (world.activation * world.gradient).flatten(0, 1)
    core = scored(Supernode(), world).bool()
    expected = redundancy_to(made(torch.corrcoef(q.T)), core, 5)
    torch.testing.assert_close(scored(CoreRedundancy(), world), expected)


def test_the_mass_of_the_core_is_its_share_of_the_proxy():
    world = make_world()
    proxy = 0.5 * (world.activation * world.gradient).flatten(0, 1).square().mean(0)
    found = scored(SupernodeMass(core=0.3), world)
    assert found.item() == pytest.approx(float(proxy.topk(2).values.sum() / proxy.sum()))


def test_a_kernel_s_positions_are_one_connection_with_an_output():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(2, 6, 3), torch.nn.ReLU(), torch.nn.Conv2d(6, 5, 3)
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(80, 3)).double()
    batch = torch.randn(8, 2, 8, 8).double(), torch.randint(0, 3, (8,))
    metrics = [{"name": "core_connection", "core": 0.4, "support": 0.4}, "loss_proxy"]
    found = nodelens.score(model, [batch], metrics, folds=2)
    strength = layers[2].weight.detach().abs().sum((2, 3)).mT
    proxy = torch.from_numpy(found["loss_proxy", "0:channels"].values)
    support = strength[proxy.topk(2).indices].sum(0).topk(2).indices
    expected = strength[:, support].sum(1) / strength.sum(1)
    shown = torch.from_numpy(found["core_connection", "0:channels"].values)
    torch.testing.assert_close(shown, expected)
