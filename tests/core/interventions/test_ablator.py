import copy

import numpy as np
import pytest
import torch

from nodelens.errors import CaptureError, ModelError
from nodelens.interventions.ablator import maskable, open_ablator


def test_only_groups_that_a_module_reads_can_be_taken_from(additive):
    request = additive([1.0, 2.0]).request
    assert [group.name for group in maskable(request.graph)] == ["0:neurons"]


def test_removing_nodes_changes_the_loss_of_every_sample_by_their_contributions(additive):
    case = additive([1.0, -2.0, 4.0])
    ablator = open_ablator(case.request, "zero", maskable(case.request.graph))
    change = ablator.evaluate_without({"0:neurons": [1, 2]}).losses - ablator.dense.losses
    np.testing.assert_allclose(change, 2.0 * case.inputs, rtol=1e-12)


def test_removing_nothing_is_the_dense_model(additive):
    request = additive([1.0, 2.0]).request
    ablator = open_ablator(request, "zero", maskable(request.graph))
    assert ablator.evaluate_without({"0:neurons": []}) is ablator.dense


def test_means_take_the_place_of_nodes(additive):
    means = {"0:neurons": torch.tensor([2.0, 2.0])}
    case = additive([1.0, 3.0], means=means)
    ablator = open_ablator(case.request, "mean", maskable(case.request.graph))
    change = ablator.evaluate_without({"0:neurons": [1]}).losses - ablator.dense.losses
    np.testing.assert_allclose(change, 3.0 * (case.inputs - 2.0), rtol=1e-12, atol=1e-12)


def test_means_that_were_not_captured_are_an_error(additive):
    request = additive([1.0, 2.0]).request
    with pytest.raises(CaptureError, match="replace: mean needs the mean activation of 0:neurons"):
        open_ablator(request, "mean", maskable(request.graph))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was_also_after_an_error(additive, training):
    request = additive([1.0, 2.0]).request
    model = request.model.train(training)
    state, hooks = copy.deepcopy(model.state_dict()), _hooks(model)
    ablator = open_ablator(request, "zero", maskable(request.graph))
    request.batches[1].args[0].data = torch.zeros(1, 7, dtype=torch.float64)
    with pytest.raises(ModelError, match="shapes"):
        ablator.evaluate_without({"0:neurons": [0]})
    assert _hooks(model) == hooks
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(state[name], now) for name, now in model.state_dict().items())


def _hooks(model):
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()
    ]
