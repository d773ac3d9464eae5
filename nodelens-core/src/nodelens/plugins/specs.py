"""Specifications: typed, light descriptions of components, which plugins return from hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal[
    "backend",
    "dataset",
    "metric",
    "loss",
    "analysis",
    "intervention",
    "evaluation",
    "pruner",
    "recovery",
    "report",
    "command",
    "operator",
]

PLURALS: Mapping[Kind, str] = {
    "backend": "backends",
    "dataset": "datasets",
    "metric": "metrics",
    "loss": "losses",
    "analysis": "analyses",
    "intervention": "interventions",
    "evaluation": "evaluations",
    "pruner": "pruners",
    "recovery": "recoveries",
    "report": "reports",
    "command": "commands",
    "operator": "operators",
}
"""The plural of every kind: the end of its hook's name, and the command that lists it."""

_NAME = validators.matches_re(r"[a-z][a-z0-9_]*(-[a-z0-9_]+)*")
_TARGET = validators.matches_re(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@frozen
class ComponentSpec:
    """One named component: its `target`, ``module:attribute``, is imported when it is selected.

    The target is a frozen attrs class whose fields are the component's options. Its module must
    import without torch (import heavy packages inside functions), so that options can be checked
    and listed in milliseconds.
    """

    kind: ClassVar[Kind]
    name: str = field(validator=_NAME)
    target: str = field(validator=_TARGET)
    summary: str = field(validator=validators.min_len(1))


class BackendSpec(ComponentSpec):
    """A source of models; the target is a `nodelens.interfaces.backend.Backend`."""

    kind: ClassVar[Kind] = "backend"


class DatasetSpec(ComponentSpec):
    """A source of samples; the target is a `nodelens.interfaces.dataset.Dataset`."""

    kind: ClassVar[Kind] = "dataset"


@frozen
class MetricSpec(ComponentSpec):
    """A node metric; the target is a `nodelens.interfaces.metric.Metric`."""

    kind: ClassVar[Kind] = "metric"
    family: str = "other"


class LossSpec(ComponentSpec):
    """A loss that models minimise; the target is a `nodelens.interfaces.loss.Loss`."""

    kind: ClassVar[Kind] = "loss"


class AnalysisSpec(ComponentSpec):
    """An analysis of scores; the target is a `nodelens.interfaces.analysis.Analysis`."""

    kind: ClassVar[Kind] = "analysis"


class InterventionSpec(ComponentSpec):
    """A test of scores by ablation; the target is an `Intervention`."""

    kind: ClassVar[Kind] = "intervention"


class EvaluationSpec(ComponentSpec):
    """A measure of a whole model; the target is a `nodelens.interfaces.evaluation.Evaluation`."""

    kind: ClassVar[Kind] = "evaluation"


class PrunerSpec(ComponentSpec):
    """A pruning method; the target is a `nodelens.interfaces.pruner.Pruner`."""

    kind: ClassVar[Kind] = "pruner"


class RecoverySpec(ComponentSpec):
    """A way to train pruned models; the target is a `nodelens.interfaces.recovery.Recovery`."""

    kind: ClassVar[Kind] = "recovery"


class ReportSpec(ComponentSpec):
    """A writer of reports; the target is a `nodelens.interfaces.report.Report`."""

    kind: ClassVar[Kind] = "report"


class CommandSpec(ComponentSpec):
    """A subcommand of ``nodelens``; the target is a click command."""

    kind: ClassVar[Kind] = "command"


class OperatorSpec(ComponentSpec):
    """An operator of torch; the target is a `nodelens.interfaces.operator.Operator`.

    The target is a row, not a class, and its module may import torch. A row of a plugin replaces
    the core's.
    """

    kind: ClassVar[Kind] = "operator"


SPEC_KINDS: Mapping[Kind, type[ComponentSpec]] = {
    spec.kind: spec
    for spec in (
        BackendSpec,
        DatasetSpec,
        MetricSpec,
        LossSpec,
        AnalysisSpec,
        InterventionSpec,
        EvaluationSpec,
        PrunerSpec,
        RecoverySpec,
        ReportSpec,
        CommandSpec,
        OperatorSpec,
    )
}
