"""The point near the mean that sums are taken about."""

import pytest
import torch

from nodelens.interfaces.statistic import Reading
from nodelens.statistics.rows import mean_of


@pytest.mark.parametrize("line", ["row", "column"])
@pytest.mark.parametrize(
    ("rows", "nodes", "side"), [(32, 128, 32), (16, 64, 64), (4, 64, 112), (4, 16, 224)]
)
def test_no_line_of_an_image_decides_where_the_pivot_is(rows, nodes, side, line):
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(rows, nodes, side, side, generator=random)
    for at in (0, side // 2, side - 1):
        shifted = maps.clone()
        (shifted[:, :, at] if line == "row" else shifted[..., at]).add_(100.0)
        pivot = mean_of(Reading(shifted.flatten(2).mT, torch.zeros(rows).long()))
        std, mean = torch.std_mean(shifted.double(), dim=(0, 2, 3))
        assert ((pivot - mean) / std).abs().max() < 0.5
