"""Complex numbers are compared like real ones: in double precision, both of their parts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.errors import ModelError
from nodelens.graph import infer
from nodelens.removal.double_precision import relative_difference
from nodelens.removal.removal import remove

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


class Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 5)

    def forward(self, x):
        return torch.fft.rfft(self.b(F.relu(self.a(x))))


class CountsInImaginaryParts(Spectrum):
    def forward(self, x):
        h = F.relu(self.a(x))
        return torch.complex(self.b(h), self.b(h) * h.shape[-1])


class ComplexWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 8, dtype=torch.complex64)
        self.b = nn.Linear(8, 5, dtype=torch.complex64)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x.to(torch.complex64))))


@pytest.mark.parametrize("build", [Spectrum, ComplexWeights])
def test_models_with_complex_outputs_are_compared(build):
    torch.manual_seed(0)
    model = build().eval()
    graph = infer(model, X)
    (group,) = (each for each in graph if each.prunable)
    with graph.mask(model, {group.name: [0, 3, 5]}), torch.no_grad():
        masked = model(X)
    removal = remove(model, graph, {group.name: [0, 3, 5]}, X)
    assert removal.verdicts[0].status == "exact"
    assert removal.notes == ()
    assert torch.allclose(model(X), masked, atol=1e-5)
    assert model.a.weight.dtype == build().a.weight.dtype


def test_imaginary_parts_that_differ_are_a_refusal():
    model = CountsInImaginaryParts().eval()
    with pytest.raises(ModelError, match="a:neurons cannot be removed: in the model, it returns"):
        remove(model, infer(model, X), {"a:neurons": [0, 1, 2]}, X)


def test_differences_of_complex_numbers_are_of_both_parts():
    a = torch.tensor([1 + 2j, 3 - 4j])
    assert relative_difference([a.real + 0j], [a.conj()]) == 1.0
    assert relative_difference([a], [a.clone()]) == 0.0
