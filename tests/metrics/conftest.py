import pytest
import torch

from nodelens.testing.metric_checks import scores
from nodelens.testing.world import World


@pytest.fixture
def score():
    """Score arrays ``(rows, nodes)`` or ``(rows, positions, nodes)`` of a layer."""

    def run(
        metric, activation, *, pre=None, gradient=None, targets=None, w=None, v=None, inputs=None
    ):
        activation = _with_positions(activation)
        rows, positions, nodes = activation.shape
        incoming = torch.ones(nodes, 1, dtype=torch.float64) if w is None else w
        read = torch.zeros(rows, positions, incoming.shape[1], dtype=torch.float64)
        world = World(
            inputs=read if inputs is None else _with_positions(inputs),
            pre=activation if pre is None else _with_positions(pre),
            activation=activation,
            gradient=activation * 0 if gradient is None else _with_positions(gradient),
            targets=torch.zeros(rows, dtype=torch.int64) if targets is None else targets,
            fold=torch.arange(rows) % 4,
            index=torch.arange(rows),
            incoming=incoming,
            outgoing=torch.ones(1, nodes, dtype=torch.float64) if v is None else v,
        )
        return scores(metric, world)

    return run


def _with_positions(values):
    return (values.unsqueeze(1) if values.ndim == 2 else values).double()


@pytest.fixture
def gaussian():
    """Return samples ``(rows, nodes)`` whose sample covariance is exactly the one asked for."""

    def run(covariance, rows=40):
        covariance = torch.tensor(covariance, dtype=torch.float64)
        random = torch.Generator().manual_seed(0)
        x = torch.randn(rows, len(covariance), generator=random, dtype=torch.float64)
        x -= x.mean(0)
        white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / rows)).T
        return white @ torch.linalg.cholesky(covariance).T

    return run


@pytest.fixture
def data():
    """Return skewed values ``(rows, positions, nodes)``, some of them zero."""
    random = torch.Generator().manual_seed(5)
    return torch.randn(20, 3, 4, generator=random, dtype=torch.float64).relu() ** 1.5
