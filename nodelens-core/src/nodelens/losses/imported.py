"""A loss of the user's own, a function that the config names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from nodelens.interfaces.loss import LossInfo

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.capture.batches import Batch
    from nodelens.interfaces.backend import Permissions


@frozen
class ImportedLoss:
    """A function of your own, of output and batch; allowed with ``--allow-import PREFIX`` only.

    Attributes:
        path: ``module:function``; the function returns one summed loss per row, ``(rows,)``.
        unit: the unit of the loss.
        higher_is_better: whether the number is to be maximised; as a target, whether nodes are
            scored for its fall.
    """

    path: str = field(
        validator=validators.matches_re(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"),
        metadata={"expected": "module:function"},
    )
    unit: str = field(default="loss", validator=validators.min_len(1))
    higher_is_better: bool = False

    @property
    def info(self) -> LossInfo:
        """The unit and the direction that the options say."""
        return LossInfo(unit=self.unit, higher_is_better=self.higher_is_better)

    def check(self, allowed: Permissions) -> None:
        """Raise `ModelError` where the module is not allowed or has no such function."""
        from nodelens.models.importing import check_allowed, imported_function

        check_allowed("loss.path", self.path, allowed.imports)
        imported_function(self.path)

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        from nodelens.models.importing import imported_function

        found: Tensor = imported_function(self.path)(output, batch)
        return found

    def counts(self, batch: Batch) -> Tensor:
        from nodelens.capture.losses import label_counts

        return label_counts(batch)
