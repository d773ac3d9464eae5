"""The result of a training: its history and the chosen epoch."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import asdict, field, frozen

from nodelens.findings.finding import Finding, Line, LinePlot, Table


@frozen
class Epoch:
    """One pass over the training split; losses are None without a validation split.

    `training_loss` is the mean over the epoch, measured while the weights were changing and with
    label smoothing if that is on. `measures` are what a loss of no classes reports in place of an
    accuracy.
    """

    number: int
    training_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    measures: Mapping[str, float] = field(factory=dict)


@frozen
class TrainingResult:
    """The history of a training, and the epoch whose weights the model has.

    `stopped_early` says that patience ended the training before its last epoch.
    """

    history: tuple[Epoch, ...]
    chosen: int
    stopped_early: bool
    samples: int
    seconds: float
    unit: str = "nats"

    @property
    def chosen_epoch(self) -> Epoch:
        """The epoch whose weights the model has."""
        return self.history[self.chosen - 1]

    def finding(self) -> Finding:
        """Return the curves and the table of epochs, ready for a report."""
        return Finding(
            kind="training",
            name="training",
            title="Training",
            headline=(self._sentence(),),
            tables=(_table(self.history, self.unit),),
            plots=(_plot(self.history, self.unit),),
            data={
                "chosen": self.chosen,
                "stopped_early": self.stopped_early,
                "samples": self.samples,
                "epochs": [asdict(epoch) for epoch in self.history],
            },
        )

    def _sentence(self) -> str:
        epoch, count = self.chosen_epoch, len(self.history)
        length = f"trained for {count} epoch{'s' * (count > 1)} on {self.samples} samples"
        if self.stopped_early:
            length += ", stopped early"
        if epoch.validation_loss is None:
            return f"{length}; no validation split, so the weights are those of the last epoch"
        accuracy = epoch.validation_accuracy
        right = "" if accuracy is None else f", accuracy {100 * accuracy:.1f} %"
        right += "".join(f", {name} {value:.3g}" for name, value in epoch.measures.items())
        return (
            f"{length}; the weights are those of epoch {self.chosen}, which has the lowest "
            f"validation loss ({epoch.validation_loss:.4f} {self.unit}{right})"
        )


def _table(history: tuple[Epoch, ...], unit: str) -> Table:
    measures = tuple(history[0].measures) or ("accuracy",)
    named = tuple(f"validation {name}" for name in measures)
    columns = ("epoch", "training loss", "validation loss", *named, "learning rate")
    rows = tuple(
        (
            epoch.number,
            epoch.training_loss,
            epoch.validation_loss,
            *(tuple(epoch.measures.values()) or (epoch.validation_accuracy,)),
            epoch.learning_rate,
        )
        for epoch in history
    )
    note = f"Losses in {unit}; the learning rate is the one of the epoch's last step."
    return Table("epochs", "Epochs", columns, rows, note)


def _plot(history: tuple[Epoch, ...], unit: str) -> LinePlot:
    numbers = tuple(float(epoch.number) for epoch in history)
    lines = [Line("training", numbers, tuple(epoch.training_loss for epoch in history))]
    validation = [epoch.validation_loss for epoch in history if epoch.validation_loss is not None]
    if validation:
        lines.append(Line("validation", numbers, tuple(validation), style="dashed"))
    return LinePlot(
        name="loss",
        title="Loss during training",
        x_label="epoch",
        y_label=f"loss in {unit}",
        lines=tuple(lines),
        log_y=all(line.y and min(line.y) > 0 for line in lines),
    )
