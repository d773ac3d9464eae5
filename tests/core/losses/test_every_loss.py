"""The kit on every loss that a plugin offers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from attrs import evolve

from nodelens.config.schema import Component
from nodelens.plugins.manager import load_plugins
from nodelens.testing import check_loss, failures
from nodelens.testing.loss_checks import LossExample

REGISTRY = load_plugins().registry
ROWS = torch.tensor([0.5, 1.0, -2.0, 3.0])
OPTIONS = {
    "class_logit": {"index": 1},
    "token_logit": {"token": 3},
    "logit_difference": {"of": 0, "against": 2},
    "import": {"path": "tests.core.losses.own_function:squares"},
}
EXAMPLES = {"own": LossExample(ROWS, None, lambda output: SimpleNamespace(loss=output))}
CHECKS = [
    pytest.param(check, id=f"{name}: {check}")
    for name in REGISTRY.names("loss")
    for check in check_loss(
        REGISTRY.build("loss", Component(name, OPTIONS.get(name, {}))), EXAMPLES.get(name)
    )
]


@pytest.mark.parametrize("check", CHECKS)
def test_every_loss_passes_the_kit(check):
    check.run()


class Spoilt:
    """A mean over the batch, broadcast, whose draws depend on their order."""

    info = SimpleNamespace(unit="nats", higher_is_better=False, distribution="binary")

    def row_losses(self, output, batch):
        return output.square().mean().expand(len(output))

    def sampled(self, output, batch):
        return evolve(batch, targets=torch.arange(len(output)))

    def row_sums(self, output, batch):
        return {"total": output.sum()[None]}

    def measures(self, sums):
        return {"total": sums["total"]}


def test_a_loss_that_breaks_its_contract_is_told():
    found = " ".join(failures(check_loss(Spoilt())))
    for name in (
        "a row has the same loss alone and in any order",
        "drawn labels belong to their row",
        "measures are finite, and of any number of left out rows",
    ):
        assert name in found
