"""Tasks of transformers models: the class that loads each, and the data it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from nodelens.errors import DataError

if TYPE_CHECKING:
    from nodelens.interfaces.backend import ModelRequest

Task = Literal[
    "causal_lm",
    "masked_lm",
    "seq2seq_lm",
    "sequence_classification",
    "token_classification",
    "image_classification",
    "encoder",
]


@frozen
class TaskClass:
    """Auto class of a task, and whether its models read images."""

    auto: str
    images: bool = False
    labels: bool = False


TASKS: dict[Task, TaskClass] = {
    "causal_lm": TaskClass("AutoModelForCausalLM"),
    "masked_lm": TaskClass("AutoModelForMaskedLM"),
    "seq2seq_lm": TaskClass("AutoModelForSeq2SeqLM"),
    "sequence_classification": TaskClass("AutoModelForSequenceClassification", labels=True),
    "token_classification": TaskClass("AutoModelForTokenClassification", labels=True),
    "image_classification": TaskClass("AutoModelForImageClassification", images=True, labels=True),
    "encoder": TaskClass("AutoModel"),
}


def auto_class(task: Task) -> Any:
    """Return transformers' auto class of a task."""
    import transformers

    return getattr(transformers, TASKS[task].auto)


def check_objective(task: Task, objective: str) -> None:
    """Raise `DataError` for an objective of text that does not fit the models of a task."""
    if task == "masked_lm" and objective == "next":
        raise DataError(
            "data.objective: a masked_lm model reads the next token that it would predict; set "
            "data.objective: masked (or model.task: causal_lm for a model that reads to the left)"
        )
    if task == "causal_lm" and objective == "masked":
        raise DataError(
            "data.objective: a causal_lm model predicts the next token, not masked ones; set "
            "data.objective: next (or model.task: masked_lm for a model that reads both sides)"
        )


def fields_of(task: Task, request: ModelRequest) -> dict[str, Any]:
    """Return the fields of a configuration that follow from the data."""
    described = TASKS[task]
    fields: dict[str, Any] = {}
    if described.labels and request.classes:
        fields["num_labels"] = request.classes
    if described.images or (task == "encoder" and len(request.input_shape) == 3):
        channels, height, _ = request.input_shape
        fields |= {"num_channels": channels, "image_size": height}
    return fields
