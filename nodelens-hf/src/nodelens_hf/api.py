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
    """Measure the perplexity of a language model on text files.

    Args:
        model: a causal language model; left unchanged.
        files: files, folders and patterns such as ``docs/*.txt``.
        tokenizer: a folder or hub id with the model's tokenizer, or ``bytes``.
        options: options of `nodelens_hf.evaluations.Perplexity`: window, stride, joiner, text,
            windows, gguf_file, batch_size.

    Returns:
        Perplexity and bits per byte with standard errors over windows, and the losses in nats.

    Raises:
        DataError: for files, a tokenizer or a window that do not fit.
        ModelError: for a masked language model.

    Example:
        ::

            found = perplexity(model, "test.txt", tokenizer="bytes", window=32, stride=16)
            print(found.perplexity.text(".1f"))
    """
    return text_loss.measure(Perplexity(files=files, tokenizer=tokenizer, **options), model)


def multiple_choice(
    model: nn.Module,
    *files: str,
    tokenizer: str,
    **options: Any,
) -> ChoiceResult:
    """Measure the accuracy of a language model on multiple-choice questions of JSON Lines files.

    Args:
        model: a causal language model; left unchanged.
        files: files, folders and patterns such as ``questions/*.jsonl``.
        tokenizer: a folder or hub id with the model's tokenizer, or ``bytes``.
        options: options of `nodelens_hf.evaluations.MultipleChoice`: prompt, question, choices,
            answer, begin, window, gguf_file, batch_size.

    Returns:
        Log-likelihoods of all choices in nats, and two accuracies with standard errors.

    Raises:
        DataError: for records without a question, and for a tokenizer that does not fit.
        ModelError: for a masked language model.

    Example:
        ::

            found = multiple_choice(model, "questions.jsonl", tokenizer="bytes")
            print(found.accuracy.percent())
    """
    return multiple_choice_task.measure(
        MultipleChoice(files=files, tokenizer=tokenizer, **options), model
    )


def lm_eval(model: nn.Module, *tasks: str, tokenizer: str, **options: Any) -> HarnessResult:
    """Evaluate a language model on tasks of the Language Model Evaluation Harness (lm-eval).

    Args:
        model: a causal language model; left unchanged.
        tasks: names of tasks or groups of tasks.
        tokenizer: a folder or hub id with the model's tokenizer.
        options: options of `nodelens_hf.evaluations.LmEval`: shots, limit, window, include_path,
            gguf_file, batch_size. Code in the folder `include_path` is run.

    Returns:
        All numbers of all tasks with standard errors, by ``[task, measure]``.

    Raises:
        DataError: for tasks and tokenizers that cannot be read, and without lm-eval.
        ModelError: for a masked language model.

    Example:
        ::

            found = lm_eval(model, "arc_easy", tokenizer="HuggingFaceTB/SmolLM2-135M", limit=100)
            print(found["arc_easy", "acc"].value.percent())
    """
    return harness.measure(LmEval(tasks=tasks, tokenizer=tokenizer, **options), model)
