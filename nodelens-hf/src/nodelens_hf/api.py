"""Evaluations of language models as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodelens_hf import harness, multiple_choice_task, text_loss
from nodelens_hf.evaluations import LmEval, MultipleChoice, Perplexity

if TYPE_CHECKING:
    from torch import nn

    from nodelens_hf.harness import HarnessResult
    from nodelens_hf.multiple_choice_task import ChoiceResult
    from nodelens_hf.text_loss import TextResult


def perplexity(model: nn.Module, *files: str, tokenizer: str, **options: Any) -> TextResult:
    """Measure the perplexity of a model on text files.

    `options` are those of `nodelens_hf.evaluations.Perplexity`: window, stride, joiner, text,
    windows, gguf_file, batch_size.
    """
    return text_loss.measure(Perplexity(files=files, tokenizer=tokenizer, **options), model)


def multiple_choice(
    model: nn.Module,
    *files: str,
    tokenizer: str,
    **options: Any,
) -> ChoiceResult:
    """Answer the questions of JSON Lines files.

    `options` are those of `nodelens_hf.evaluations.MultipleChoice`: prompt, question, choices,
    answer, begin, window, gguf_file, batch_size.
    """
    return multiple_choice_task.measure(
        MultipleChoice(files=files, tokenizer=tokenizer, **options), model
    )


def lm_eval(model: nn.Module, *tasks: str, tokenizer: str, **options: Any) -> HarnessResult:
    """Ask a model the questions of tasks of lm-eval.

    `options` are those of `nodelens_hf.evaluations.LmEval`: shots, limit, window, include_path,
    gguf_file, batch_size. Code in the folder `include_path` is run.
    """
    return harness.measure(LmEval(tasks=tasks, tokenizer=tokenizer, **options), model)
