"""The handwritten digits that come with scikit-learn: real data without a download."""

from __future__ import annotations

from attrs import frozen

from nodelens.interfaces.dataset import LoadedData, Samples


@frozen
class Digits:
    """scikit-learn's 1,797 handwritten digits, grey images of 8 by 8 pixels in 10 classes.

    Attributes:
        flat: give vectors of 64 values in place of images.
    """

    flat: bool = False

    def load(self) -> LoadedData:
        """Return inputs ``(1797, 1, 8, 8)``, or ``(1797, 64)`` if flat, in [0, 1]."""
        import torch
        from sklearn.datasets import load_digits

        values, targets = load_digits(return_X_y=True)
        inputs = torch.tensor(values / 16.0, dtype=torch.float32)  # 16 grey levels above zero
        shape = (len(inputs), -1) if self.flat else (len(inputs), 1, 8, 8)
        return LoadedData(
            samples=Samples(inputs.reshape(shape), torch.tensor(targets, dtype=torch.int64)),
            classes=tuple(str(digit) for digit in range(10)),
            origin="scikit-learn's digits",
        )
