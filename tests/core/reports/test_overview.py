"""The order of warnings: those of evaluations come before all others."""

from nodelens.findings.finding import Finding
from nodelens.reports.overview import ordered_warnings


def test_an_evaluation_warns_first():
    findings = [
        Finding("training", "training", "Training", warnings=("slow",)),
        Finding("evaluation", "test", "Evaluation", warnings=("at chance", "a loss")),
        Finding("intervention", "oracle", "Oracle", warnings=("noise",)),
    ]
    found = [text for _, text in ordered_warnings(["of the run"], findings)]
    assert found == ["at chance", "a loss", "of the run", "slow", "noise"]
    assert [text for _, text in ordered_warnings([], findings[:1])] == ["slow"]
