import numpy as np
import pytest
import torch
from attrs import evolve
from torch import nn

from nodelens.channels.infer import infer
from nodelens.errors import UnknownNameError
from nodelens.interventions.ablation.cases import choose_cases
from nodelens.scoring.scores import Score, Scores


@pytest.fixture
def request_with(additive):
    """Return a request on groups of 4, 3 and 2 nodes and the output, from ``{metric: groups}``."""

    def build(covered, high=True, down=()):
        model = nn.Sequential(*(nn.Linear(a, b) for a, b in ((2, 4), (4, 3), (3, 2), (2, 5))))
        graph = infer(model, torch.zeros(2, 2))
        scores = {
            (metric, group.name): Score(metric, group.name, nodes(group, metric in down), high, "1")
            for metric, groups in covered.items()
            for group in graph
            if group.name in groups
        }
        return evolve(additive([1.0]).request, model=model, graph=graph, scores=Scores(scores))

    return build


def nodes(group, falling):
    rising = np.arange(group.width)
    return rising[::-1] if falling else rising


A, B, C, OUT = "0:neurons", "1:neurons", "2:neurons", "3:neurons"
INPUTS = "0:inputs"


def test_metrics_that_score_the_same_groups_share_a_case(request_with):
    request = request_with({"all": (A, B, C), "first": (A,), "also": (A, B, C)}, down=("also",))
    found = choose_cases(request, "global", None, (0.5,))
    assert [(case.name, case.metrics) for case in found.cases] == [
        ("all groups", ("all", "also")),
        (A, ("first",)),
    ]
    assert found.cases[0].nodes == 9


def test_metrics_of_equal_ranks_are_ablated_once(request_with):
    request = request_with({"all": (A, B, C), "also": (A, B, C), "first": (A,)})
    for wanted in (None, ("all", "also")):
        found = choose_cases(request, "global", wanted, (0.5,))
        assert found.cases[0].metrics == ("all",)
        assert found.left_out["also"] == "ranks the nodes of every group as all does"


def test_the_group_scope_has_one_case_per_group(request_with):
    request = request_with({"all": (A, B, C), "first": (A,)})
    found = choose_cases(request, "group", None, (0.5,))
    assert [(case.name, case.metrics) for case in found.cases] == [
        (A, ("all", "first")),
        (B, ("all",)),
        (C, ("all",)),
    ]


def test_what_cannot_be_ablated_is_left_out_with_the_reason(request_with):
    request = request_with({"some": (A,), "none": (OUT,)})
    found = choose_cases(request, "global", None, (0.2,))
    assert found.left_out == {
        B: "no metric scores it",
        C: "too few nodes (2) to ablate any",
        OUT: "model output",
        INPUTS: "model input",
        "none": "scores no group that can be ablated",
    }


def test_metrics_without_a_direction_are_left_out_and_random_remains(request_with):
    request = request_with({"shape": (A, B)}, high=None)
    found = choose_cases(request, "global", ("shape",), (0.5,))
    assert found.left_out["shape"] == "describes nodes without saying which to keep"
    assert [case.metrics for case in found.cases] == [()]


def test_an_unknown_metric_is_an_error_with_the_closest_name(request_with):
    request = request_with({"taylor": (A,)})
    with pytest.raises(UnknownNameError, match="no scores of a metric 'tayler'; did you mean 'tay"):
        choose_cases(request, "global", ("tayler",), (0.5,))


def test_places_with_as_many_groups_have_names_of_their_own(request_with):
    request = request_with({"all": (A, B, C), "ab": (A, B), "bc": (B, C)})
    found = choose_cases(request, "global", None, (0.5,))
    names = ["all groups", "2 of 3 groups", "2 of 3 groups (2)"]
    assert [case.name for case in found.cases] == names
