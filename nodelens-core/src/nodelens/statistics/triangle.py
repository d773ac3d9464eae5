"""Symmetric matrices kept as the blocks of their upper triangle."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from attrs import frozen
from torch import Tensor

from nodelens.statistics.sweeps import chunk_on

BLOCKS = 8
"""The number of blocks of columns: 9/16 of the products and of the memory of a square."""

SMALLEST = 256
"""Matrices up to this width are kept whole: small products gain nothing from blocks."""


@frozen
class Triangle:
    """The layout of a symmetric matrix of some width in a vector, without the lower triangle.

    A block holds the columns ``start:stop`` and all rows above ``stop``, so that the square on the
    diagonal is whole and everything below it is left out.
    """

    width: int

    @property
    def columns(self) -> list[tuple[int, int]]:
        """The first column of each block, and the one after its last."""
        if self.width <= SMALLEST:
            return [(0, self.width)]
        edges = [self.width * number // BLOCKS for number in range(BLOCKS + 1)]
        return list(pairwise(edges))

    @property
    def size(self) -> int:
        """The number of entries that are kept."""
        return sum(stop * (stop - start) for start, stop in self.columns)

    def blocks(self, packed: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield rows, columns and a view of each block of ``(..., size)``."""
        first = 0
        for start, stop in self.columns:
            last = first + stop * (stop - start)
            view = packed[..., first:last].view(*packed.shape[:-1], stop, stop - start)
            yield slice(0, stop), slice(start, stop), view
            first = last

    def add_products(self, packed: Tensor, samples: Tensor) -> None:
        """Add samplesᵀ·samples of ``(..., samples, width)``, taken in the samples' precision.

        A part of a block is multiplied and added while a processor's cache still holds it.
        """
        batch = samples.shape[:-2]
        for rows, columns, block in self.blocks(packed):
            right, width = samples[..., columns], columns.stop - columns.start
            step = max(1, chunk_on(samples.device) // max(1, batch.numel() * width))
            space = samples.new_empty(*batch, min(step, rows.stop), width)
            for first in range(0, rows.stop, step):
                some = slice(first, min(first + step, rows.stop))
                product = space[..., : some.stop - first, :]
                block[..., some, :] += torch.matmul(samples[..., some].mT, right, out=product)

    def add_outer(self, packed: Tensor, left: Tensor, right: Tensor) -> None:
        """Add left·rightᵀ of ``(..., width)`` vectors; all additions together must be symmetric."""
        for rows, columns, block in self.blocks(packed):
            block += left[..., rows, None] * right[..., None, columns]

    def silence(self, packed: Tensor, live: Tensor) -> None:
        """Set the rows and columns that are not in `live`, ``(..., width)`` of bool, to 0."""
        for rows, columns, block in self.blocks(packed):
            block *= live[..., rows, None] & live[..., None, columns]

    def diagonal(self, packed: Tensor) -> Tensor:
        """Return the diagonals, ``(..., width)``."""
        parts = [
            block[..., columns, :].diagonal(dim1=-2, dim2=-1)
            for _, columns, block in self.blocks(packed)
        ]
        return torch.cat(parts, dim=-1)

    def whole(self, packed: Tensor) -> Tensor:
        """Return the symmetric matrices ``(..., width, width)``."""
        matrix = packed.new_zeros(*packed.shape[:-1], self.width, self.width)
        for rows, columns, block in self.blocks(packed):
            matrix[..., rows, columns] = block
        return torch.triu(matrix) + torch.triu(matrix, 1).mT
