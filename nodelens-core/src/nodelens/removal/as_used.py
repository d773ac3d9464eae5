"""The last step of a removal: the model is run as its user has it, with warm caches and modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from nodelens.removal.double_precision import own_tolerance, relative_difference
from nodelens.removal.equivalence import References, Trouble
from nodelens.removal.forward import forward

if TYPE_CHECKING:
    from torch import nn


def trouble_as_used(model: nn.Module, against: References) -> Trouble | None:
    """Run the model as it is, twice in a row; return the trouble that is found, if any.

    All other forwards set a mode first, in which a model may drop what it has cached, and run in
    float64. This one does neither. It must compute what the model computes after its mode was set.
    """
    modes = {module.training for module in model.modules()}
    fitting = [each.example for each in against.all if each.example.training == model.training]
    example = (fitting or [against.all[0].example])[0]
    kept = evolve(example, training=None) if fitting else example
    run = forward(model, kept, False, against.operators, times=2)
    if run.error:
        return Trouble(run.operators, run.module, f"{run.error}, {_AS_IT_IS}", run.calls, run.line)
    if not fitting or len(modes) > 1:
        return None
    plain = forward(model, example, False, against.operators)
    difference = relative_difference(run.outputs, plain.outputs)
    if difference <= own_tolerance(model):
        return None
    reason = f"the outputs differ by {difference:.2g} of their scale from those {_AFTER_SETTING}"
    return Trouble(run.operators, "", f"{reason}, {_AS_IT_IS}")


_AS_IT_IS = "where the model is run as it is, with what it has cached"
_AFTER_SETTING = "after its mode was set"
