"""Symmetric matrices kept as the blocks of their upper triangle."""

import pytest
import torch

from nodelens.statistics.sweeps import CHUNK
from nodelens.statistics.triangle import Triangle


@pytest.mark.parametrize("chunk", [1, 1000, 2**18])
@pytest.mark.parametrize("width", [5, 300])
@pytest.mark.parametrize("batch", [(), (1,), (3,)])
@pytest.mark.parametrize("samples", [0, 1, 7])
def test_products_in_parts_of_any_size(monkeypatch, chunk, width, batch, samples):
    monkeypatch.setitem(CHUNK, "cpu", chunk)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(*batch, samples, width, generator=random, dtype=torch.float64)
    before = x.clone()
    triangle = Triangle(width)
    packed = torch.zeros(*batch, triangle.size, dtype=torch.float64)
    for _ in range(2):
        triangle.add_products(packed, x)
    torch.testing.assert_close(triangle.whole(packed), 2 * x.mT @ x)
    assert torch.equal(x, before)


def test_products_are_taken_in_the_precision_of_the_samples():
    x = torch.tensor([[1.0 + 2.0**-23]])
    packed = torch.zeros(1, dtype=torch.float64)
    Triangle(1).add_products(packed, x)
    assert packed.item() == (x * x).double().item()
