"""Targets: numbers of a model's outputs that nodes are scored for in place of a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import evolve, field, frozen, validators

from nodelens.interfaces.loss import LossInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from nodelens.capture.batches import Batch

Position = Literal["last", "all"]
"""Which positions of a row count: the last one that is no padding, or the sum over all."""

_POSITION = validators.in_(("last", "all"))
_LOGITS = LossInfo(unit="logits", higher_is_better=True)


@frozen
class ClassLogit:
    """The logit of one class, of outputs with one prediction per row.

    Attributes:
        index: the class, as the number of its output or by its name.
    """

    index: int | str

    info = _LOGITS

    def with_classes(self, names: Sequence[str]) -> ClassLogit:
        """Return the target with the number of the class; raises `ConfigError` for a wrong name."""
        from nodelens.losses.chosen_logits import class_number

        return evolve(self, index=class_number(self.index, names))

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        from nodelens.losses.chosen_logits import logit_of, row_logits

        return logit_of(row_logits(output, batch, None), self.index)


@frozen
class TokenLogit:
    """The logit of one token of the vocabulary, of a model with a prediction per position.

    Attributes:
        token: the number of the token in the vocabulary.
        position: the last position that is no padding, or the sum over all positions.
    """

    token: int = field(validator=validators.ge(0))
    position: Position = field(default="last", validator=_POSITION)

    info = _LOGITS

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        from nodelens.losses.chosen_logits import logit_of, row_logits

        return logit_of(row_logits(output, batch, self.position), self.token)


@frozen
class LogitDifference:
    """The logit of one class or token minus that of another.

    Attributes:
        of: the class or token, by its number or the name of the class.
        against: the one that is subtracted.
        position: of outputs with a prediction per position, the last one that is no padding, or
            the sum over all positions.
    """

    of: int | str
    against: int | str
    position: Position = field(default="last", validator=_POSITION)

    info = _LOGITS

    def with_classes(self, names: Sequence[str]) -> LogitDifference:
        """Return the target with numbers of classes; raises `ConfigError` for a wrong name."""
        from nodelens.losses.chosen_logits import class_number

        of, against = (class_number(each, names) for each in (self.of, self.against))
        return evolve(self, of=of, against=against)

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        from nodelens.losses.chosen_logits import logit_of, row_logits

        logits = row_logits(output, batch, self.position)
        return logit_of(logits, self.of) - logit_of(logits, self.against)
