import pytest
import torch
from scipy.spatial.distance import cdist

from nodelens_metrics.weights import geometry
from nodelens_metrics.weights.geometry import FPGM, WeightCosine


@pytest.fixture
def rows():
    """Return weights of which two rows are equal, two nearly so, and one is far from zero."""
    w = torch.randn(9, 5, generator=torch.Generator().manual_seed(2)).double()
    w[3], w[4], w[5] = w[0], w[1] * (1 + 1e-12), 1e6
    return w


@pytest.fixture(params=[4, 1024])
def chunked(request, monkeypatch):
    monkeypatch.setattr(geometry, "CHUNK", request.param)


@pytest.mark.usefixtures("chunked")
def test_fpgm_is_the_sum_of_all_distances(score, rows):
    expected = cdist(rows.numpy(), rows.numpy()).sum(1)
    found = score(FPGM(), torch.ones(2, 9), w=rows)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_distances_of_close_rows_are_not_rounding(rows):
    found = torch.cat(list(geometry.distances(rows))).numpy()
    expected = cdist(rows.numpy(), rows.numpy())
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[0, 3] == 0.0
    assert found[1, 4] > 0.0


def test_nodes_in_the_middle_are_the_most_replaceable(score):
    w = torch.tensor([[-1.0], [0.0], [1.0], [10.0]]).double()
    assert score(FPGM(), torch.ones(2, 4), w=w).tolist() == [14.0, 12.0, 12.0, 30.0]


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("top", [None, 3])
def test_cosine_of_all_pairs(score, rows, absolute, top):
    found = score(WeightCosine(top=top, absolute=absolute), torch.ones(2, 9), w=rows)
    for node in range(9):
        others = [
            torch.nn.functional.cosine_similarity(rows[node], rows[other], dim=0).item()
            for other in range(9)
            if other != node
        ]
        largest = sorted(map(abs, others) if absolute else others, reverse=True)[:top]
        assert found[node].item() == pytest.approx(sum(largest) / len(largest), abs=1e-12)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([[1.0], [2.0], [-3.0]], [0.0, 0.0, -1.0]), ([[1.0], [0.0]], [0.0, 0.0]), ([[5.0]], [0.0])],
)
def test_cosines_of_opposite_and_missing_weights(score, weights, expected):
    w = torch.tensor(weights).double()
    assert score(WeightCosine(), torch.ones(2, len(w)), w=w).tolist() == pytest.approx(expected)
