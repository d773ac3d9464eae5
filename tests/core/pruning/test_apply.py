import copy
import json

import pytest
import torch
from attrs import evolve, frozen
from torch import nn

from nodelens.capture.batches import Batch
from nodelens.channels.infer import infer
from nodelens.errors import CaptureError, ModelError, PluginError
from nodelens.interfaces.pruner import PruningPlan
from nodelens.masks import mask
from nodelens.pruning.apply import prune_and_evaluate
from nodelens.removal.attribute_hints import AttributeHint
from nodelens.testing.pruner_checks import example_request
from nodelens.training.model_evaluation import evaluate, paired

A, B = "0:neurons", "2:neurons"
KEEP = {A: (0, 2, 3, 5, 7, 11), B: (1, 2, 6)}


@frozen
class Fixed:
    """Make always the same plan."""

    made: PruningPlan

    def metrics(self):
        return ()

    def plan(self, request):
        return self.made


@pytest.fixture
def prune():
    request = example_request(())
    random = torch.Generator().manual_seed(0)
    x = torch.randn(30, 5, generator=random)
    batches = [Batch((x,), targets=torch.arange(30) % 4)]
    dense = evaluate(request.model, batches)

    def run(keep=KEEP, means=None, **plan):
        pruner = Fixed(PruningPlan(keep, **plan))
        pruned = prune_and_evaluate("fixed", pruner, run.request, batches, means or {}, dense)
        run.model = pruned.model
        return pruned.finding

    run.request, run.batches, run.dense = request, batches, dense
    return run


def test_the_finding_compares_the_masked_model_with_the_dense_one(prune):
    finding = prune()
    with mask(prune.request.model, prune.request.graph, KEEP):
        pruned = evaluate(prune.request.model, prune.batches)
    change, se = paired(pruned, prune.dense)
    loss, accuracy, parameters, macs = finding.tables[0].rows
    assert loss[:3] == ("loss in nats", prune.dense.loss, pytest.approx(pruned.loss, rel=1e-5))
    assert loss[3:] == (pytest.approx(change, rel=1e-4), pytest.approx(se, rel=1e-4))
    assert accuracy[1:3] == (prune.dense.accuracy, pruned.accuracy)
    assert accuracy[3] == pytest.approx(pruned.accuracy - prune.dense.accuracy)
    assert parameters[1:4] == (5 * 12 + 12 + 12 * 7 + 7 + 7 * 4 + 4, 73, 73 - 195)
    assert macs[1:3] == (5 * 12 + 12 * 7 + 7 * 4, 5 * 6 + 6 * 3 + 3 * 4)
    json.dumps(finding.data, allow_nan=False)


def test_the_finding_counts_nodes_and_gives_the_verdict(prune):
    finding = prune()
    assert finding.headline[0].startswith("fixed removes 10 of 19 prunable nodes (53 %): loss ")
    assert finding.headline[1].endswith("removal is exact")
    assert finding.tables[1].rows == (
        (A, 12, 6, 0.5, "exact"),
        (B, 7, 3, pytest.approx(4 / 7), "exact"),
    )


def test_the_smaller_model_computes_what_the_masked_model_computes(prune):
    prune()
    x = prune.batches[0].args[0]
    with mask(prune.request.model, prune.request.graph, KEEP):
        masked = prune.request.model(x)
    assert torch.allclose(prune.model(x), masked, atol=1e-6)
    assert prune.model[0].out_features == 6


def test_a_group_that_cannot_be_removed_is_masked_and_the_others_are_removed(prune, monkeypatch):
    from nodelens.pruning import apply

    def picky(model, graph, keep, *args, **kwargs):
        removed = real(model, graph, {A: keep[A]}, *args, **kwargs)
        return evolve(removed, refused={B: "it is glued"})

    real = apply.remove
    monkeypatch.setattr(apply, "remove", picky)
    with mask(prune.request.model, prune.request.graph, KEEP):
        masked = evaluate(prune.request.model, prune.batches)
    finding = prune()
    assert finding.warnings == ("the nodes of 2:neurons are masked, not removed: it is glued",)
    assert [row[4] for row in finding.tables[1].rows] == ["exact", "masked only"]
    assert prune.model[0].out_features == 6
    assert prune.model[2].out_features == 7
    assert finding.data["loss"][1] == pytest.approx(masked.loss, rel=1e-5)


def test_nothing_is_removed_where_no_combination_can_be(prune, monkeypatch):
    def refuse(*args, **kwargs):
        raise ModelError("it is glued; the model is as before")

    monkeypatch.setattr("nodelens.pruning.apply.remove", refuse)
    finding = prune()
    assert finding.data["carried_out"] == "masks"
    assert finding.headline[1].startswith("the nodes are masked, not removed: it is glued")
    assert prune.model is None


def test_groups_without_a_choice_stay_whole(prune):
    assert prune({A: (0,)}).tables[1].rows[1] == (B, 7, 7, 0.0, "whole")


def test_notes_are_listed_and_warned_about_unless_nothing_could_be_done(prune):
    notes = (
        "2:neurons stays whole; reason",
        "4:neurons stays whole; cannot be pruned: model output",
    )
    finding = prune(notes=notes)
    assert finding.warnings == notes[:1]
    assert finding.tables[2].rows == tuple((note,) for note in notes)


def test_means_go_into_biases_where_the_plan_says_so(prune):
    means = {A: torch.linspace(-1, 1, 12), B: torch.ones(7)}
    x = prune.batches[0].args[0]
    with mask(prune.request.model, prune.request.graph, KEEP, "mean", means):
        masked = prune.request.model(x)
    finding = prune(means=means, replace="mean")
    assert finding.data["carried_out"] == "removal"
    assert finding.headline[1].endswith("removal is exact")
    assert prune.model[0].out_features == 6
    assert torch.allclose(prune.model(x), masked, atol=1e-5)
    assert finding.data["loss"] != prune(means=means).data["loss"]


class Product(nn.Module):
    """A linear layer that nobody knows as one: no bias takes in what it reads."""

    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x):
        return x @ self.weight.T + self.bias


def test_means_that_no_bias_can_take_in_are_put_there_by_masks(prune):
    model = copy.deepcopy(prune.request.model)
    model[4] = Product(model[4])
    prune.request = evolve(prune.request, model=model, graph=infer(model, torch.randn(2, 5)))
    means = {A: torch.ones(12), B: torch.full((7,), 2.0)}
    with mask(prune.request.model, prune.request.graph, KEEP, "mean", means):
        masked = evaluate(prune.request.model, prune.batches)
    finding = prune(means=means, replace="mean")
    ((group, reason),) = finding.data["refused"].items()
    assert group == B
    assert "cannot go into a bias: 4 (input) is a Product" in reason
    assert [row[4] for row in finding.tables[1].rows] == ["exact", "masked only"]
    assert finding.data["loss"][1] == pytest.approx(masked.loss, rel=1e-4)


def test_hints_of_the_backend_reach_the_removal(prune):
    hint = AttributeHint("size", (A,))
    prune.request.model.size = 12
    request = evolve(prune.request, hints=(hint,))
    pruner = Fixed(PruningPlan(KEEP))
    made = prune_and_evaluate("fixed", pruner, request, prune.batches, {}, prune.dense)
    assert made.model.size == 6
    assert prune.request.model.size == 12


def test_means_that_were_not_captured_are_an_error(prune):
    with pytest.raises(CaptureError, match="the means of 2:neurons were not captured"):
        prune(means={A: torch.ones(12)}, replace="mean")


def test_the_model_is_left_as_it_was(prune):
    model = prune.request.model.train()
    state = copy.deepcopy(model.state_dict())
    prune()
    assert all(torch.equal(state[name], now) for name, now in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("keep", "problem"),
    [
        ({"0:neuron": (0,)}, "no channel group is called '0:neuron'; did you mean '0:neurons'?"),
        ({"4:neurons": (0,)}, "4:neurons cannot be pruned: model output"),
        ({A: ()}, "0:neurons: no node is kept; at least one has to be"),
        ({A: (1, 0)}, "0:neurons: expected sorted nodes from 0 to 11, got (1, 0)"),
        ({A: (0, 12)}, "0:neurons: expected sorted nodes from 0 to 11, got (0, 12)"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_names_the_method(prune, keep, problem):
    with pytest.raises(PluginError) as error:
        prune(keep)
    assert (
        str(error.value) == f"pruning method 'fixed' made a plan that cannot be applied: {problem}"
    )
