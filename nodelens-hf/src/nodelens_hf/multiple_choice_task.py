"""Multiple-choice questions, answered by the likelihood of each choice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from nodelens.data.splits import batches
from nodelens.errors import DataError
from nodelens.findings.finding import Finding, Table
from nodelens.interfaces.dataset import Samples
from nodelens.interfaces.statistic import IGNORED
from nodelens.training.estimate import Estimate, ratio
from nodelens.training.model_evaluation import evaluate
from nodelens_hf.compatibility import check_causal, check_vocabulary, check_window
from nodelens_hf.documents import find_files, readable
from nodelens_hf.own_losses import TOKENS
from nodelens_hf.text_lines import records_of_lines
from nodelens_hf.tokenizers import Tokens, load_tokenizer
from nodelens_hf.windows import next_tokens, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from nodelens_hf.evaluations import MultipleChoice


@frozen
class Question:
    """Prompt with its choices and the number of the right one."""

    prompt: str
    choices: tuple[str, ...]
    answer: int


@frozen(eq=False)
class ChoiceResult:
    """Log-likelihoods in nats of every choice of every question."""

    questions: tuple[Question, ...]
    likelihoods: tuple[NDArray[np.float64], ...]

    @property
    def accuracy(self) -> Estimate:
        """Fraction of questions whose right choice has the largest log-likelihood."""
        return self._accuracy_of(self.likelihoods)

    @property
    def normalised_accuracy(self) -> Estimate:
        """Accuracy by log-likelihood per character of the choice."""
        lengths = ([len(text) for text in each.choices] for each in self.questions)
        pairs = zip(self.likelihoods, lengths, strict=True)
        return self._accuracy_of(tuple(values / np.array(length) for values, length in pairs))

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return float(np.mean([1 / len(each.choices) for each in self.questions]))

    def _accuracy_of(self, values: tuple[NDArray[np.float64], ...]) -> Estimate:
        pairs = zip(values, self.questions, strict=True)
        right = np.array([float(each.argmax() == asked.answer) for each, asked in pairs])
        return ratio(right, np.ones(len(right), dtype=np.int64))


def measure(protocol: MultipleChoice, model: nn.Module) -> ChoiceResult:
    """Return the log-likelihoods of all choices; the model is left unchanged.

    Raises `DataError` for records without a question, and for a tokenizer that does not fit;
    `ModelError` for a masked language model.
    """
    check_causal(model)
    tokens = load_tokenizer(protocol.tokenizer, protocol.gguf_file)
    questions = tuple(_questions(protocol))
    if not questions:
        raise DataError(f"{', '.join(protocol.files)}: there are no questions")
    rows = [
        _row(asked.prompt, choice, protocol, tokens)
        for asked in questions
        for choice in asked.choices
    ]
    samples = _samples(rows, protocol, tokens)
    check_window(model, samples.inputs.shape[1])
    check_vocabulary(model, samples.inputs)
    evaluation = evaluate(model, batches(samples, protocol.batch_size, TOKENS))
    ends = np.cumsum([len(asked.choices) for asked in questions])[:-1]
    return ChoiceResult(questions, tuple(np.split(-evaluation.losses, ends)))


def _questions(protocol: MultipleChoice) -> Iterator[Question]:
    for path in find_files(protocol.files):
        with readable(path):
            for record, where in records_of_lines(path):
                yield _question(record, protocol, where)


def _question(record: Any, protocol: MultipleChoice, where: str) -> Question:
    names = (protocol.question, protocol.choices, protocol.answer)
    if not isinstance(record, dict) or any(name not in record for name in names):
        raise DataError(f"{where}: expected a record with {', '.join(names)}")
    question, choices, answer = (record[name] for name in names)
    texts = isinstance(choices, list) and all(isinstance(each, str) and each for each in choices)
    if not isinstance(question, str) or not texts or len(choices) < 2:
        raise DataError(f"{where}: expected a text and at least two choices that are not empty")
    prompt = protocol.prompt.replace("{question}", question)
    return Question(prompt, tuple(choices), _answer(answer, choices, where))


def _answer(answer: Any, choices: list[str], where: str) -> int:
    """Return the number of the right choice, given as number, text or letter."""
    number = -1
    if isinstance(answer, int) and not isinstance(answer, bool):
        number = answer
    elif answer in choices:
        number = choices.index(answer)
    elif isinstance(answer, str) and len(answer) == 1:
        number = ord(answer.upper()) - ord("A")
    if not 0 <= number < len(choices):
        raise DataError(f"{where}: {answer!r} is none of the {len(choices)} choices")
    return number


def _row(
    prompt: str, choice: str, protocol: MultipleChoice, tokens: Tokens
) -> tuple[list[int], int]:
    """Return the ids of prompt and choice, and the number of ids of the choice, at the end.

    Both are tokenised together, so that the choice reads as it would in a text.
    """
    space = "" if not prompt or prompt[-1].isspace() else " "
    before, whole = tokens.encode([prompt, prompt + space + choice])
    if tokens.begin is not None and (protocol.begin or not before):
        before, whole = [tokens.begin, *before], [tokens.begin, *whole]
    count = len(whole) - len(before)
    if not before or count < 1:
        raise DataError(f"the choice {choice!r} has no token of its own after {prompt!r}")
    if count >= protocol.window:
        raise DataError(f"window: the choice {choice!r} has {count} tokens; give more than that")
    return whole[-protocol.window :], count


def _samples(
    rows: list[tuple[list[int], int]], protocol: MultipleChoice, tokens: Tokens
) -> Samples:
    """Return padded rows in which only the tokens of the choices are predicted."""
    inputs, mask = padded([ids for ids, _ in rows], protocol.window, tokens)
    targets = next_tokens(inputs)
    for number, (ids, count) in enumerate(rows):
        targets[number, : len(ids) - count - 1] = IGNORED
        targets[number, len(ids) - 1 :] = IGNORED
    return Samples(inputs, targets, {"attention_mask": mask})


def finding_of(protocol: MultipleChoice, result: ChoiceResult) -> Finding:
    """Return both accuracies as a finding."""
    plain, normalised = result.accuracy, result.normalised_accuracy
    count = len(result.questions)
    rows = (
        ("largest log-likelihood", plain.finite(), plain.finite_se()),
        ("largest log-likelihood per character", normalised.finite(), normalised.finite_se()),
        ("guessing", result.chance, None),
    )
    note = f"Prompt {protocol.prompt!r}, a space, and the choice; se over questions."
    return Finding(
        kind="evaluation",
        name="multiple_choice",
        title="Multiple choice",
        headline=(
            f"accuracy {plain.percent()} by log-likelihood, {normalised.percent()} per character, "
            f"on {count} questions (guessing: {100 * result.chance:.1f} %)",
        ),
        tables=(Table("choices", "Multiple choice", ("choice of", "accuracy", "se"), rows, note),),
        data={
            "questions": count,
            "accuracy": plain.finite(),
            "accuracy_se": plain.finite_se(),
            "normalised_accuracy": normalised.finite(),
            "normalised_accuracy_se": normalised.finite_se(),
            "chance": result.chance,
            "files": [str(Path(each)) for each in protocol.files],
        },
    )
