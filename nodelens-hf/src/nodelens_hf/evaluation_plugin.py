"""Plugin with evaluations of language models; imports nothing heavy."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import EvaluationSpec


@hookimpl
def nodelens_register_evaluations() -> list[EvaluationSpec]:
    """Return the evaluations of language models."""
    return [
        EvaluationSpec(
            name="perplexity",
            target="nodelens_hf.evaluations:Perplexity",
            summary="Perplexity and bits per byte on text files, by a stated protocol.",
        ),
        EvaluationSpec(
            name="multiple_choice",
            target="nodelens_hf.evaluations:MultipleChoice",
            summary="Accuracy on multiple-choice questions of JSON Lines files.",
        ),
        EvaluationSpec(
            name="lm_eval",
            target="nodelens_hf.evaluations:LmEval",
            summary="Tasks of the Language Model Evaluation Harness (extra lm-eval).",
        ),
    ]
