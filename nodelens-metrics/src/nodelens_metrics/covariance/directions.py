"""Weight rows that write a node, in the eigenbasis of the covariance of their input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from attrs import frozen

from nodelens.weights.rows import WrittenRows
from nodelens_metrics.mathematics.second_moments import COVARIANCE
from nodelens_metrics.mathematics.spectra import blocks_of

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.producers import Producer
    from nodelens.scoring.view import GroupView


def input_covariance(group: GroupView, producer: Producer) -> Tensor:
    """Return the covariance of the rows' input, ``(blocks, features, features)``.

    Raises `NotApplicableError` where the producer's input cannot be unfolded.
    """
    return blocks_of(group.at_module(COVARIANCE, producer.module).covariance)


def written_covariance(producer: Producer, covariance: Tensor) -> Tensor:
    """Return WΣWᵀ of the rows W that write each node, ``(nodes, rows, rows)``.

    0 between rows of different inputs, such as rows of a grouped convolution.
    """
    product = _by_block(producer, covariance) @ producer.rows.mT
    return product * (producer.block.unsqueeze(1) == producer.block.unsqueeze(2))


def written_variance(producer: Producer, covariance: Tensor) -> Tensor:
    """Return wΣwᵀ of every row, ``(nodes, rows)``."""
    return (_by_block(producer, covariance) * producer.rows).sum(-1).clamp(min=0.0)


@frozen(eq=False)
class Directions:
    """Eigenvalues of the input's covariance, falling, and the rows along the eigenvectors.

    `values` is ``(blocks, features)``, `along` ``(nodes, rows, features)``, w·e_k in the eigenbasis
    of the block that the row reads.
    """

    producer: Producer
    values: Tensor
    along: Tensor

    def profile(self) -> Tensor:
        """Return the variance that each direction gives a node, ``(nodes, blocks · features)``.

        Σ_rows (w·e_k)² λ_k, directions of different blocks apart; their sum is tr WΣWᵀ.
        """
        block = self.producer.block
        energy = self.along.square() * self.values[block]
        if self.producer.blocks == 1:
            return energy.sum(1)
        nodes, _, features = energy.shape
        found = energy.new_zeros(nodes, self.producer.blocks, features)
        return found.scatter_add_(1, block.unsqueeze(-1).expand_as(energy), energy).flatten(1)


def directions_of(group: GroupView, name: str | None) -> Directions:
    """Return the directions of the weight of that name, or of the only one."""
    producer = group[WrittenRows(name)]
    values, vectors = torch.linalg.eigh(input_covariance(group, producer))
    along = _by_block(producer, vectors.flip(-1))
    return Directions(producer, values.clamp(min=0.0).flip(-1), along)


def _by_block(producer: Producer, matrices: Tensor) -> Tensor:
    """Return every row times the matrix of the block that it reads, ``(nodes, rows, features)``."""
    if len(matrices) == 1:
        return producer.rows @ matrices[0]
    found = torch.empty_like(producer.rows)
    for number, matrix in enumerate(matrices):
        here = producer.block == number
        found[here] = producer.rows[here] @ matrix
    return found
