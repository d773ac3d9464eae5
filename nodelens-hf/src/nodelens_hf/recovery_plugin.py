"""Plugin with recovery by adapters; imports nothing heavy."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import RecoverySpec


@hookimpl
def nodelens_register_recoveries() -> list[RecoverySpec]:
    """Return the recovery by adapters."""
    return [
        RecoverySpec(
            name="lora",
            target="nodelens_hf.lora:LoRA",
            summary="Low-rank changes of the weights of any model, by peft.",
        )
    ]
