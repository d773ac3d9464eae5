"""Evaluations of language models that a run can do beside its own test samples."""

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
    """Perplexity and bits per byte on text files, with a stated protocol.

    Documents are joined, tokenised without special tokens and cut into windows; a window of T
    tokens makes T − 1 predictions, and a token that several windows hold is counted in the first.
    Losses are summed in nats over all predictions and divided once.

    Attributes:
        files: files, folders and patterns such as ``docs/*.txt``.
        tokenizer: a folder or hub id that has the model's tokenizer, or ``bytes``.
        gguf_file: a GGUF file in the tokenizer's folder that holds the tokenizer.
        text: the field of a record that holds the text.
        window: tokens per window.
        stride: tokens between the starts of windows; null is the window: no overlap.
        joiner: what stands between documents; null ends each with the end token.
        windows: windows that are kept, drawn with the run's seed; null keeps all.
        batch_size: windows that go through the model at once; changes no result.
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
        """Return the perplexity of the model as it is."""
        from nodelens_hf.text_loss import finding_of, measure

        return finding_of(self, measure(self, request.model, request.seed))


@frozen
class MultipleChoice:
    """Accuracy on questions with given choices, by the likelihood of each choice.

    The files are JSON Lines: a question, a list of choices, and the right one as its number from 0,
    its letter or its text. A choice follows the prompt after a space. Two accuracies are given: by
    the summed log-likelihood of the choice's tokens, and by that sum divided by its characters.

    Attributes:
        files: files, folders and patterns such as ``questions/*.jsonl``.
        tokenizer: a folder or hub id that has the model's tokenizer, or ``bytes``.
        gguf_file: a GGUF file in the tokenizer's folder that holds the tokenizer.
        prompt: what stands before a choice; ``{question}`` is replaced.
        question: the field of a record that holds the question.
        choices: the field that holds the list of choices.
        answer: the field that holds the right choice.
        begin: whether the tokenizer's begin token stands before the prompt.
        window: tokens that are kept, from the end of prompt and choice.
        batch_size: choices that go through the model at once; changes no result.
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
        """Return the accuracies of the model as it is."""
        from nodelens_hf.multiple_choice_task import finding_of, measure

        return finding_of(self, measure(self, request.model))


@frozen
class LmEval:
    """Tasks of the Language Model Evaluation Harness, the package lm-eval, on the model as it is.

    Needs ``pip install 'nodelens-hf[lm-eval]'``. Tasks that come with the package read their data
    from the hub or its cache; tasks of your own lie in a folder, with any data they name.

    Attributes:
        tasks: names of tasks or groups of tasks; ``lm-eval ls tasks`` shows those of the package.
        tokenizer: a folder or hub id that has the model's tokenizer.
        gguf_file: a GGUF file in the tokenizer's folder that holds the tokenizer.
        shots: examples before every question; null leaves that to the task.
        limit: questions of each task, the first ones; null asks all.
        window: the longest input in tokens; null is what the model's configuration says.
        include_path: a folder with files of further tasks. Such files can hold code, so that this
            needs ``--trust-remote-code``.
        batch_size: inputs that go through the model at once.
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
        """Raise `DataError` where lm-eval is missing, and for task files that are not allowed."""
        if find_spec("lm_eval") is None:
            raise DataError("evaluation lm_eval needs lm-eval; pip install 'nodelens-hf[lm-eval]'")
        if self.include_path is not None and not allowed.remote_code:
            raise DataError(
                f"include_path: task files in {self.include_path} can hold code, which a config "
                "cannot allow; read them, and pass --trust-remote-code if you trust them"
            )

    def evaluate(self, request: EvaluationRequest) -> Finding:
        """Return the results of all tasks on the model as it is."""
        self.check(request.allowed)
        from nodelens_hf.harness import finding_of, measure

        return finding_of(self, measure(self, request.model, request.seed))
