import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.maps import MapRanks, NuclearNorms, map_ranks, nuclear_contributions


def summarised(statistic, maps, **fields):
    """Summarise ``(rows, nodes, height, width)`` maps."""
    rows, nodes, *grid = maps.shape
    state = statistic.start(Layout(nodes, 1))
    values, fold = maps.flatten(2).mT, torch.zeros(rows, dtype=torch.int64)
    statistic.update(state, Reading(values=values, fold=fold, grid=tuple(grid), **fields))
    return statistic.summary(state, torch.ones(1, dtype=torch.bool))


def random_maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(matrix):
    """Return ‖A‖_* − ‖A with row i zeroed‖_* for every row, one decomposition each."""
    norm = torch.linalg.matrix_norm
    zeroed = matrix.repeat(len(matrix), 1, 1)
    zeroed.diagonal(dim1=0, dim2=1).zero_()
    return norm(matrix, "nuc") - norm(zeroed, "nuc")


def test_ranks_are_those_of_the_maps():
    maps = torch.stack(
        [random_maps(4, 5, rank, seed=rank) @ random_maps(4, rank, 6) for rank in (1, 2, 5)], 1
    )
    found = summarised(MapRanks(), torch.cat([maps, 0 * maps[:, :1]], dim=1))
    assert found.mean.tolist() == [1.0, 2.0, 5.0, 0.0]
    assert found.rows == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ranks_agree_with_torch_on_maps_after_relu(dtype):
    maps = random_maps(3, 8, 7, 7).relu().to(dtype)
    found = map_ranks(maps.flatten(2).mT, 7, 7)
    assert torch.equal(found, torch.linalg.matrix_rank(maps).double())


def test_rounding_to_the_precision_of_the_activation_is_no_rank():
    maps = torch.ones(1, 1, 8, 8) / 3.0 + 1e-8 * random_maps(1, 1, 8, 8).float()
    assert summarised(MapRanks(), maps).mean.item() == 1.0
    halved = (random_maps(1, 1, 8, 1) @ random_maps(1, 1, 1, 8)).bfloat16()
    assert summarised(MapRanks(), halved).mean.item() == 1.0


def test_positions_that_are_no_grid_have_no_rank():
    state = MapRanks().start(Layout(3, 1))
    values, fold = random_maps(2, 6, 3), torch.zeros(2, dtype=torch.int64)
    MapRanks().update(state, Reading(values=values, fold=fold))
    assert MapRanks().summary(state, torch.ones(1, dtype=torch.bool)).rows == 0


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (7, 7), (5, 1), (1, 5)], ids=str)
@pytest.mark.parametrize("active", [True, False], ids=["dense", "after relu"])
def test_contributions_are_those_of_the_definition(shape, active):
    matrix = random_maps(*shape)
    matrix = matrix if active else matrix.relu()
    torch.testing.assert_close(
        nuclear_contributions(matrix), by_definition(matrix), atol=1e-12, rtol=0
    )


def test_contributions_of_dependent_dead_and_lonely_nodes():
    matrix = random_maps(6, 9)
    matrix[1] = 2 * matrix[0]
    matrix[2] = 0.0
    matrix[3] = 0.0
    matrix[3, 4], matrix[[0, 1, 4, 5], 4] = 1e3, 0.0
    found = nuclear_contributions(matrix)
    torch.testing.assert_close(found, by_definition(matrix), atol=1e-11, rtol=0)
    assert found[2] == 0.0
    alone = torch.linalg.vector_norm(matrix[3]).item()
    assert found[3].item() == pytest.approx(alone, rel=1e-12)


def test_an_empty_activation_contributes_nothing():
    assert nuclear_contributions(torch.zeros(3, 4, dtype=torch.float64)).tolist() == [0.0] * 3


def test_contributions_are_averaged_over_rows():
    maps = random_maps(5, 6, 3, 4).relu()
    found = summarised(NuclearNorms(), maps)
    expected = torch.stack([by_definition(row) for row in maps.flatten(2)]).mean(0)
    torch.testing.assert_close(found.mean, expected)
    assert found.rows == 5


def test_a_node_of_several_components_is_left_out_as_a_whole():
    values, norm = random_maps(2, 6, 12), torch.linalg.matrix_norm
    values[..., 3:6] = 0.0
    state = NuclearNorms().start(Layout(12, 1, components=3))
    fold = torch.zeros(2, dtype=torch.int64)
    NuclearNorms().update(state, Reading(values=values, fold=fold, components=3))
    found = NuclearNorms().summary(state, torch.ones(1, dtype=torch.bool))
    expected = []
    for node in range(4):
        rest = values.clone()
        rest[..., 3 * node : 3 * node + 3] = 0.0
        expected.append((norm(values, "nuc") - norm(rest, "nuc")).mean())
    torch.testing.assert_close(found.mean, torch.stack(expected))
    assert found.mean[1] == 0.0
