"""Type checks that tell the arguments of a removal from model inputs of the same name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch.optim import Optimizer

from nodelens.errors import ModelError

_EXPECTED: Mapping[str, tuple[tuple[type, ...], str]] = {
    "keep": ((Mapping,), "a mapping of groups to the nodes to keep"),
    "means": ((Mapping, type(None)), "a mapping of groups to the means of their nodes"),
    "hints": ((Sequence,), "a sequence of rules for attributes"),
    "optimizer": ((Optimizer, type(None)), "an optimizer"),
    "refused": ((str,), "'error' or 'keep'"),
    "fraction": ((int, float), "a number between 0 and 1"),
    "seed": ((int,), "a whole number"),
}


def check_arguments(**given: object) -> None:
    """Raise `ModelError` for an argument of another type, such as a model input of its name."""
    for name, value in given.items():
        types, expected = _EXPECTED[name]
        if not isinstance(value, types):
            raise ModelError(
                f"{name} must be {expected}, got {type(value).__name__}; if {name} is an input of "
                "the model, give it by position or in a module that calls the model with it"
            )
