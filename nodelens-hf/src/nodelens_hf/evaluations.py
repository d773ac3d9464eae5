"""Evaluations of language models on data of their own, beside the run's test samples."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nodelens.errors import DataError

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding
    from nodelens.interfaces.backend import Permissions
    from nodelens.interfaces.evaluation import EvaluationRequest


@frozen
class Perplexity:
    """Perplexity and bits per byte on text files, by a stated protocol.

    Documents are joined, tokenised without special tokens and split into windows. A window of T
    tokens makes T − 1 predictions, and a token in several windows is counted in the first. Losses
    are summed in nats over all predictions and divided once.

    Attributes:
        files: files, folders and patterns such as ``docs/*.txt``.
        tokenizer: a folder or hub id with the model's tokenizer, or ``bytes``.
        gguf_file: a GGUF file in the tokenizer's folder that holds the tokenizer.
        text: the field of a record that holds the text.
        window: tokens per window.
        stride: tokens between the starts of windows; null is the window: no overlap.
        joiner: text between documents; null ends each with the end token.
        windows: number of windows to keep, drawn with the run's seed; null keeps all.
        batch_size: windows in the model at once; changes no result.
    """

    files: tuple[str, ...]
    tokenizer: str
    gguf_file: str | None = None
    text: str = "text"
    window: int = field(default=1024, validator=validators.ge(2))
    stride: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    joiner: str | None = "\n\n"
    windows: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    batch_size: int = field(default=4, validator=validators.ge(1))

    def evaluate(self, request: EvaluationRequest) -> Finding:
        from nodelens_hf.text_loss import finding_of, measure

        return finding_of(self, measure(self, request.model, request.seed))


@frozen
class MultipleChoice:
    """Accuracy on multiple-choice questions, by the likelihood of each choice.

    The files are JSON Lines: a question, a list of choices, and the right one as its number from 0,
    its letter or its text. A choice follows the prompt after a space. Two accuracies are given: by
    the summed log-likelihood of the choice's tokens, and by that sum divided by its characters.

    Attributes:
        files: files, folders and patterns such as ``questions/*.jsonl``.
        tokenizer: a folder or hub id with the model's tokenizer, or ``bytes``.
        gguf_file: a GGUF file in the tokenizer's folder that holds the tokenizer.
        prompt: text before a choice; ``{question}`` is filled in.
        question: the field of a record that holds the question.
        choices: the field that holds the list of choices.
        answer: the field that holds the right choice.
        begin: whether the tokenizer's begin token stands before the prompt.
        window: tokens to keep, from the end of prompt and choice.
        batch_size: choices in the model at once; changes no result.
    """

    files: tuple[str, ...]
    tokenizer: str
    gguf_file: str | None = None
    prompt: str = field(
        default="{question}", validator=validators.matches_re(r"(?s).*\{question\}.*")
    )
    question: str = "question"
    choices: str = "choices"
    answer: str = "answer"
    begin: bool = False
    window: int = field(default=1024, validator=validators.ge(2))
    batch_size: int = field(default=8, validator=validators.ge(1))

    def evaluate(self, request: EvaluationRequest) -> Finding:
        from nodelens_hf.multiple_choice_task import finding_of, measure

        return finding_of(self, measure(self, request.model))


@frozen
class LmEval:
    """Tasks of the Language Model Evaluation Harness, the package lm-eval.

    Needs ``pip install 'nodelens-hf[lm-eval]'``. Tasks that come with the package read their data
    from the hub or its cache; tasks of your own lie in a folder, with any data they name.

    Attributes:
        tasks: names of tasks or groups of tasks; ``lm-eval ls tasks`` shows those of the package.
        tokenizer: a folder or hub id with the model's tokenizer.
        gguf_file: a GGUF file in the tokenizer's folder that holds the tokenizer.
        shots: examples before every question; null leaves that to the task.
        limit: number of questions of each task, the first ones; null takes all.
        window: the longest input in tokens; null takes the model's configuration.
        include_path: a folder with files of further tasks. Such files can hold code, so that this
            needs ``--trust-remote-code``.
        batch_size: inputs in the model at once.
    """

    tasks: tuple[str, ...] = field(validator=validators.min_len(1))
    tokenizer: str
    gguf_file: str | None = None
    shots: int | None = field(default=None, validator=validators.optional(validators.ge(0)))
    limit: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    window: int | None = field(default=None, validator=validators.optional(validators.ge(2)))
    include_path: str | None = None
    batch_size: int = field(default=8, validator=validators.ge(1))

    def check(self, allowed: Permissions) -> None:
        """Raise `DataError` without lm-eval, and for task files that are not allowed."""
        if find_spec("lm_eval") is None:
            raise DataError("evaluation lm_eval needs lm-eval; pip install 'nodelens-hf[lm-eval]'")
        if self.include_path is not None and not allowed.remote_code:
            raise DataError(
                f"include_path: task files in {self.include_path} can hold code, which a config "
                "cannot allow; read them, and pass --trust-remote-code if you trust them"
            )

    def evaluate(self, request: EvaluationRequest) -> Finding:
        self.check(request.allowed)
        from nodelens_hf.harness import finding_of, measure

        return finding_of(self, measure(self, request.model, request.seed))
