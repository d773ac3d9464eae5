"""The losses that transformers models define, of labels in the places of their outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelens.interfaces.loss import Loss, RowLoss
from nodelens.losses.binary import BCE
from nodelens.losses.cross_entropy import CrossEntropy
from nodelens.losses.regression import MSE

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from nodelens_hf.tasks import Task

CLASSES = CrossEntropy(class_axis=-1)
"""The cross-entropy of transformers: the last axis of the logits runs over classes."""

TOKENS = RowLoss(CLASSES, "cross_entropy")


def loss_of_rows(config: PretrainedConfig, classifies: bool, real: bool) -> Loss:
    """Return the loss of the labels of a row, by the rule of transformers.

    `classifies` says that the model has as many outputs as its configuration has labels, `real`
    that the labels are real numbers.
    """
    problem = getattr(config, "problem_type", None)
    if problem == "regression" or (problem is None and classifies and config.num_labels == 1):
        return MSE()
    if problem == "multi_label_classification" or (problem is None and real):
        return BCE()
    return CLASSES


def loss_of_task(task: Task, config: PretrainedConfig) -> Loss | None:
    """Return the loss of the models of a task; None for an encoder, which has none."""
    if task == "encoder":
        return None
    if task in ("sequence_classification", "image_classification"):
        return loss_of_rows(config, classifies=True, real=False)
    return CLASSES
