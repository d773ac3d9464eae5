import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading


@pytest.fixture
def summary_of():
    """Accumulate `(rows, positions, nodes)` values in batches of given sizes and summarise."""

    def run(statistic, values, *, sizes=None, folds=1, classes=3, **fields):
        state = statistic.start(Layout(values.shape[-1], folds, classes=classes))
        fields = {"fold": torch.zeros(len(values), dtype=torch.int64), **fields}
        parts = {name: tensor.split(sizes or len(values)) for name, tensor in fields.items()}
        for number, part in enumerate(values.split(sizes or len(values))):
            given = {name: tensors[number] for name, tensors in parts.items()}
            statistic.update(state, Reading(values=part, **given))
        return statistic.summary(state, torch.ones(folds, dtype=torch.bool))

    return run


@pytest.fixture
def values():
    """Return skewed float64 values ``(rows, positions, nodes)`` of several scales."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(12, 4, 5, generator=random, dtype=torch.float64)
    return (x + 0.3 * x.square()) * torch.tensor([1e-3, 0.1, 1.0, 10.0, 1e4], dtype=torch.float64)
