"""What the distribution offers; imports nothing heavy."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import BackendSpec, DatasetSpec, EvaluationSpec, RecoverySpec


@hookimpl
def nodelens_register_backends() -> list[BackendSpec]:
    """Offer the model backends."""
    return [
        BackendSpec(
            name="hf",
            target="nodelens_hf.backend:HuggingFace",
            summary="A transformers model: from a folder, the hub, or a configuration.",
        )
    ]


@hookimpl
def nodelens_register_datasets() -> list[DatasetSpec]:
    """Offer the datasets."""
    return [
        DatasetSpec(
            name="text",
            target="nodelens_hf.text:Text",
            summary="Text files as rows of tokens.",
        )
    ]


@hookimpl
def nodelens_register_evaluations() -> list[EvaluationSpec]:
    """Offer the evaluations of language models."""
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


@hookimpl
def nodelens_register_recoveries() -> list[RecoverySpec]:
    """Offer the recovery by adapters."""
    return [
        RecoverySpec(
            name="lora",
            target="nodelens_hf.lora:LoRA",
            summary="Low-rank changes of the weights of any model, by peft.",
        )
    ]
