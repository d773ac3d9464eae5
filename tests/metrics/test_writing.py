import math

import pytest
import torch

from nodelens_metrics.writing import OutgoingEntropy, WriteConcentration, WriteOverlap

V = torch.tensor([[1.0, 5.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]).double()
"""A node that writes everything alike, one that writes one thing, one that writes nothing."""

A = torch.ones(3, 3)


def test_entropy_is_that_of_the_shares(score):
    assert score(OutgoingEntropy(), A, v=V).tolist() == pytest.approx([math.log(4), 0.0, 0.0])
    assert score(OutgoingEntropy(normalise=True), A, v=V).tolist() == pytest.approx([1.0, 0, 0])


def test_one_connection_has_no_entropy(score):
    one = torch.tensor([[1.0, 2.0, 3.0]]).double()
    assert score(OutgoingEntropy(normalise=True), A, v=one).tolist() == [0.0] * 3


def test_concentration_is_one_over_the_effective_number(score):
    assert score(WriteConcentration(), A, v=V).tolist() == pytest.approx([0.25, 1.0, 0.0])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.1, [0.25, 1.0, 0.0]), (0.5, [0.5, 1.0, 0.0])], ids=str
)
def test_overlap_counts_the_outputs_with_the_most_shares(score, share, expected):
    """The first output gets 1/4 + 1 of the shares, the others 1/4 each."""
    assert score(WriteOverlap(share=share), A, v=V).tolist() == pytest.approx(expected)


def test_a_large_node_does_not_decide_alone_where_the_group_writes(score):
    v = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1000.0]]).double()
    assert score(WriteOverlap(), A, v=v).tolist() == pytest.approx([1.0, 1.0, 0.0])
