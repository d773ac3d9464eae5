import pytest
import torch
from attrs import evolve, frozen

from nodelens.errors import ModelError
from nodelens.interfaces.recovery import Recovered
from nodelens.recovery.fine_tune import FineTune
from nodelens.testing import check_recovery, failures

STEPS = FineTune(steps=2, learning_rate=0.01)


@frozen
class Spoilt:
    """Break one rule of recoveries, or none."""

    sin: str

    def check(self, request):
        if self.sin == "refuses":
            raise ModelError("no")
        if self.sin == "checks":
            request.model[0].weight.data.zero_()

    def recover(self, request):
        if self.sin == "nothing":
            return Recovered((), 0, 48, 8)
        if self.sin == "unmasked":
            request.model(request.train.inputs)
        if self.sin == "chance":
            request.model[0].weight.data += torch.rand(6, 5)
        if self.sin == "dense":
            request.dense[0].weight.data.zero_()
        if self.sin == "mode":
            request.model.train()
        recovered = STEPS.recover(request)
        if self.sin == "frozen":
            request.model[0].weight.requires_grad_(False)
        if self.sin == "shape":
            request.model[3] = torch.nn.Sequential(request.model[3])
        if self.sin == "infinite":
            return evolve(recovered, steps=(evolve(recovered.steps[0], loss=float("inf")),))
        return recovered


def light(check):
    # A test module cannot be imported by name, which the import check needs.
    return "imports" not in check.name


def test_a_right_recovery_passes():
    assert failures(filter(light, check_recovery(Spoilt("none")))) == []


@pytest.mark.parametrize(
    ("sin", "expected"),
    [
        ("refuses", "accepts a model that it can train: raised ModelError: no"),
        ("checks", "accepts a model that it can train: check() has changed the weights"),
        ("nothing", "changes the weights and says how: the weights are as they were"),
        ("infinite", "changes the weights and says how: a loss is not finite"),
        ("shape", "keeps modules, names and shapes: the modules were"),
        ("chance", "equal requests give equal weights: two runs gave other weights"),
        ("unmasked", "runs the model under the masks: the model was run outside"),
        ("chance", "leaves the dense model and the global random state as they were: the global"),
        ("dense", "leaves the dense model and the global random state as they were: the dense"),
        ("mode", "leaves modes, hooks and gradients as they were: the modes of the modules"),
        ("frozen", "leaves modes, hooks and gradients as they were: 0.weight wants no gradient"),
    ],
)
def test_every_sin_is_found(sin, expected):
    found = failures(filter(light, check_recovery(Spoilt(sin))))
    assert any(line.startswith(expected) for line in found), found
