"""Whether a model at chance is told: by its accuracy, its loss, or both."""

import numpy as np
import pytest
import torch
from torch import nn

from nodelens.capture.batches import Batch
from nodelens.training.chance import chance_warning, frequency_guesses
from nodelens.training.model_evaluation import evaluate

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


class Fixed(nn.Module):
    """A model whose logits are its inputs."""

    def forward(self, x):
        return x


def batches(logits, labels=LABELS, **options):
    return [
        Batch((x,), targets=y, **options)
        for x, y in zip(logits.split(32), labels.split(32), strict=True)
    ]


def warned(logits, labels=LABELS, **options):
    given = batches(logits.double(), labels, **options)
    return chance_warning(evaluate(Fixed(), given), frequency_guesses(given))


def right(size, labels=LABELS):
    return size * torch.nn.functional.one_hot(labels, 3)


def test_the_frequencies_are_those_of_the_labels():
    guesses = frequency_guesses(batches(torch.zeros(100, 3)))
    fractions = np.array([0.6, 0.3, 0.1])
    assert guesses.losses.mean() == pytest.approx(-(fractions * np.log(fractions)).sum())
    assert guesses.correct.mean() == pytest.approx(0.6)


def test_a_model_that_knows_the_frequencies_alone_is_at_chance():
    (text,) = warned(torch.tensor([0.6, 0.3, 0.1]).log().expand(100, 3))
    assert text.startswith(
        "the model is at chance: accuracy of 60.0 ± 4.9 % is not above the 60.0 % of the largest "
        "class by two standard errors, and its loss of 0.8979 ±"
    )
    assert "is not below the 0.8979 nats of the class frequencies" in text


def test_a_model_that_has_learned_is_not():
    assert warned(right(3.0)) == ()


def test_one_sign_of_chance_is_told_as_such():
    few = torch.tensor([0.6, 0.3, 0.1]).log() + right(0.1)
    (accuracy,) = warned(few)
    assert accuracy.startswith("the model may be at chance: accuracy of 60.0")
    assert "nats" not in accuracy
    wrong = right(200.0).clone()
    wrong[:5] = right(200.0)[-1]
    (loss,) = warned(wrong)
    assert loss.startswith("the model may be at chance: loss of 10.0000 ±")


def test_tokens_are_compared_by_their_loss():
    tokens = torch.tensor([[0, 1, 2, -100], [0, 0, 1, 2]])
    logits = torch.zeros(2, 4, 3)
    (text,) = warned(logits, tokens)
    assert text.startswith("the model is at chance: loss of 1.0986 ± 0.0000 nats is not below the ")
    assert "nats of the token frequencies" in text
    known = 5.0 * torch.nn.functional.one_hot(tokens.clamp(min=0), 3)
    assert warned(known, tokens) == ()


def test_tags_have_an_accuracy():
    tags = torch.tensor([[0, 1, 2, -100], [0, 0, 1, 2]])
    (text,) = warned(torch.zeros(2, 4, 3), tags, token_classes=True)
    assert "accuracy of 42.9" in text


def test_without_class_numbers_nothing_is_said():
    assert chance_warning(evaluate(Fixed(), batches(torch.zeros(100, 3))), None) == ()
    assert frequency_guesses([Batch((torch.zeros(3, 2),))]) is None
    assert frequency_guesses([Batch((torch.zeros(3, 2),), targets=torch.zeros(3))]) is None
    assert frequency_guesses(batches(torch.zeros(4, 3), torch.full((4,), -100))) is None
