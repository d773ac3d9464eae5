"""Metrics that give no plain numbers, or write to what they read, fail alone."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from attrs import frozen
from torch import nn

import nodelens
from nodelens.channels.groups import Extent
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.view import GroupView
from nodelens.statistics.moments import Moments
from nodelens.weights.row_sums import RowSums
from nodelens.weights.rows import Rows


@frozen(eq=False)
class Bad:
    """A metric of one function."""

    function: Callable[[GroupView], object]
    info = MetricInfo(formula="x", unit="1", higher_is_better=True)
    statistics = (Moments(),)
    weights = (Rows("producer"), RowSums("abs", "producer"))

    def score(self, group):
        return self.function(group)


class Ended(BaseException):
    """Derives from nothing that `except Exception` would catch."""


def raising(error: BaseException) -> Callable[[GroupView], object]:
    def score(group: GroupView) -> object:
        raise error

    return score


def ones(group: GroupView) -> torch.Tensor:
    return torch.ones(group.width, dtype=torch.float64)


def weight(group: GroupView) -> torch.Tensor:
    return group.parameters["0.weight"]


def state(group: GroupView) -> torch.Tensor:
    return next(iter(next(iter(group.states.values())).values()))


def later_only(group: GroupView) -> object:
    return ones(group) if group.keep.all() else [1.0]


RESULTS: dict[str, tuple[Callable[[GroupView], object], str]] = {
    "a list": (lambda g: [1.0] * g.width, r"gave a list, not a tensor of shape \(6,\)"),
    "an array": (lambda g: ones(g).numpy(), "gave a ndarray, not a tensor"),
    "nothing": (lambda g: None, "gave a NoneType, not a tensor"),
    "the wrong shape": (lambda g: torch.ones(g.width, 1), r"gave shape \(6, 1\), not \(6,\)"),
    "complex": (lambda g: ones(g) * 1j, "complex numbers, which have no order"),
    "a gradient": (lambda g: ones(g).requires_grad_(), r"return values\.detach\(\)"),
    "another device": (lambda g: ones(g).to("meta"), "values on meta"),
    "another layout": (lambda g: ones(g).to_sparse(), "layout torch.sparse_coo"),
    "not finite": (lambda g: ones(g) / 0, "not finite for nodes"),
    "a list in the folds": (later_only, "gave a list"),
    "an exit": (raising(SystemExit(3)), "SystemExit: 3"),
    "an end": (raising(Ended("far")), "Ended: far"),
}
PLACE = ("0.weight", 0, Extent(6))
WRITES: dict[str, Callable[[GroupView], object]] = {
    "a sum of weights": lambda g: g[RowSums("abs", "producer")].rows[PLACE].mul_(2.0),
    "a weight": lambda g: weight(g).data.zero_(),
    "a weight by a view": lambda g: weight(g).detach().T[0].mul_(2.0),
    "a weight by out": lambda g: torch.mul(ones(g), 2.0, out=weight(g).data[:, 0]),
    "a weight by a list": lambda g: torch._foreach_zero_([weight(g).data]),
    "a weight by an index": lambda g: weight(g).data.__setitem__(0, 0.0),
    "a slice of a weight": lambda g: g[Rows("producer")].by_slice[0].fill_(0.0),
    "a weight of a module": lambda g: nn.init.zeros_(g.network.modules["2"].weight),
    "a statistic": lambda g: state(g).add_(1.0),
    "a statistic by numpy": lambda g: state(g).numpy().fill(1.0),
    "a view of a statistic by numpy": lambda g: np.asarray(state(g)[..., :1]).fill(1.0),
    "a weight by numpy": lambda g: weight(g).detach().numpy().fill(1.0),
    "the data of a weight": lambda g: setattr(g.network.modules["2"].weight, "data", ones(g)),
    "the gradient of a weight": lambda g: g.network.modules["2"].requires_grad_(False),
}


def scored(*metrics: object) -> tuple[nodelens.Scores, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    data = [torch.randn(24, 4, dtype=torch.float64)]
    return nodelens.score(model, data, [*metrics], folds=2), model


@pytest.mark.parametrize("case", RESULTS)
def test_a_result_that_is_no_plain_number_per_node_fails_its_metric_alone(case):
    function, reason = RESULTS[case]
    scores, _ = scored(Bad(function), "activation_rms")
    assert scores.metrics == ("activation_rms",)
    assert scores.failed["Bad"].startswith("0:neurons: ")
    assert re.search(reason, scores.failed["Bad"])


@pytest.mark.parametrize("case", WRITES)
def test_a_metric_that_writes_to_what_it_reads_fails_and_changes_nothing(case):
    expected, model = scored("activation_rms", "weight_l1", "activation_variance")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def write(group: GroupView) -> torch.Tensor:
        WRITES[case](group)
        return ones(group)

    metrics = (Bad(write), "activation_rms", "weight_l1", "activation_variance")
    scores, model = scored(*metrics)
    reasons = "changes weights or statistics in place|read-only"
    assert re.search(reasons, scores.failed["Bad"])
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    for key, score in expected.scores.items():
        assert (scores[key].values == score.values).all()


def test_the_containers_of_weights_and_states_cannot_be_changed():
    def replace(group: GroupView) -> torch.Tensor:
        group.parameters["0.weight"] = ones(group)
        return ones(group)

    def drop(group: GroupView) -> torch.Tensor:
        group.states.clear()
        return ones(group)

    expected, _ = scored("activation_rms", "weight_l1")
    for function in (replace, drop):
        scores, _ = scored(Bad(function), "activation_rms", "weight_l1")
        assert "object" in scores.failed["Bad"]
        assert all(
            (scores[key].values == each.values).all() for key, each in expected.scores.items()
        )


def test_a_metric_may_work_in_place_on_its_own_tensors():
    def doubled(group: GroupView) -> torch.Tensor:
        return group[Rows("producer")].matrix.clone().mul_(2.0).square_().sum(1).sqrt_()

    scores, _ = scored(Bad(doubled), "weight_l2")
    found, plain = (next(iter(scores.of(name).values())) for name in ("Bad", "weight_l2"))
    torch.testing.assert_close(torch.tensor(found.values), 2 * torch.tensor(plain.values))


def test_an_interrupt_from_outside_still_ends_everything():
    with pytest.raises(KeyboardInterrupt):
        scored(Bad(raising(KeyboardInterrupt())))
