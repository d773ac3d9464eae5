import pytest
from attrs import frozen

from nodelens.interfaces.pruner import PruningPlan
from nodelens.testing.checks import failures
from nodelens.testing.pruner_checks import check_pruner

A, B, OUT = "0:neurons", "2:neurons", "4:neurons"


@frozen
class FirstHalf:
    """Keep the first half of every group; without options."""

    def metrics(self):
        return ()

    def plan(self, request):
        keep = {g.name: tuple(range((g.width + 1) // 2)) for g in request.graph if g.prunable}
        return PruningPlan(keep)


@frozen
class Spoilt:
    """Break one rule of pruning methods, or none."""

    sin: str
    sparsity: float = 0.5
    protect: tuple[str, ...] = ()

    def metrics(self):
        return "m" if self.sin == "text" else ("m",)

    def plan(self, request):
        keep = {}
        for group in request.graph:
            if group.prunable or self.sin == "frozen":
                keep[group.name] = tuple(range(group.width))
        if self.sin == "empty":
            keep[A] = ()
        if self.sin == "unsorted":
            keep[A] = keep[A][::-1]
        if self.sin == "ties" and len(set(request.scores["m", A].values)) > 1:
            keep[A] = keep[A][1:]
        if self.sin == "weights":
            request.model[0].weight.data.zero_()
        return PruningPlan(keep)


def test_a_right_method_without_options_passes():
    # A test module cannot be imported by name, which the import check needs.
    checks = [check for check in check_pruner(FirstHalf()) if "imports" not in check.name]
    assert failures(checks) == []


@pytest.mark.parametrize(
    ("sin", "expected"),
    [
        ("frozen", "names sorted nodes of prunable groups: '4:neurons' is not a group that can be"),
        ("empty", "never empties a group: 0:neurons: no node is kept"),
        ("unsorted", "names sorted nodes of prunable groups: 0:neurons: nodes are not sorted"),
        ("ties", "equal scores are no reason to keep or drop more: 1 nodes pruned, but 0 where"),
        ("weights", "leaves model and scores as they were: the model's weights were changed"),
        ("text", "requests metrics by name: metrics() must return a tuple of names, got 'm'"),
        ("none", "reaches the sparsity exactly: sparsity 0.25 of 19 nodes pruned 0"),
    ],
)
def test_each_broken_rule_is_found(sin, expected):
    assert any(line.startswith(expected) for line in failures(check_pruner(Spoilt(sin))))
