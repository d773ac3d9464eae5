import pytest
import torch

from nodelens.data.digits import Digits


@pytest.mark.parametrize(("flat", "shape"), [(False, (1797, 1, 8, 8)), (True, (1797, 64))])
def test_digits_are_single_precision_between_zero_and_one(flat, shape):
    data = Digits(flat=flat).load()
    assert data.samples.inputs.shape == shape
    assert data.samples.inputs.dtype == torch.float32
    assert data.samples.targets.dtype == torch.int64
    assert float(data.samples.inputs.min()) == 0.0
    assert float(data.samples.inputs.max()) == 1.0
    assert data.classes == tuple("0123456789")


def test_flat_digits_are_the_same_digits():
    images, vectors = Digits().load().samples, Digits(flat=True).load().samples
    assert torch.equal(images.inputs.flatten(1), vectors.inputs)
