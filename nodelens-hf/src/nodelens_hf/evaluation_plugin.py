"""Offers evaluations of language models; imports nothing heavy."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import InterventionSpec


@hookimpl
def nodelens_register_interventions() -> list[InterventionSpec]:
    """Offer the evaluations of language models."""
    return [
        InterventionSpec(
            name="perplexity",
            target="nodelens_hf.perplexity:Perplexity",
            summary="Perplexity and bits per byte on text files, by a stated protocol.",
        ),
        InterventionSpec(
            name="multiple_choice",
            target="nodelens_hf.perplexity:MultipleChoice",
            summary="Accuracy on multiple-choice questions of JSON Lines files.",
        ),
        InterventionSpec(
            name="lm_eval",
            target="nodelens_hf.perplexity:LmEval",
            summary="Tasks of the Language Model Evaluation Harness (extra lm-eval).",
        ),
    ]
