"""What a config may say: one attrs class per section, defaults included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, fields, frozen, validators

from nodelens.config.sizes import EXPECTED as SIZE_WORDS
from nodelens.config.sizes import PATTERN as SIZE
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from nodelens.config.raw import KeyPath
    from nodelens.plugins.specs import Kind

POSITIVE: Callable[[Any, Any, Any], None] = validators.gt(0)
POSITIVE_OR_NULL: Callable[[Any, Any, Any], None] = validators.optional(POSITIVE)
THREADS_OR_NULL: Callable[[Any, Any, Any], None] = validators.optional(
    validators.and_(POSITIVE, validators.le(1024))
)
AT_LEAST_0_OR_NULL: Callable[[Any, Any, Any], None] = validators.optional(validators.ge(0.0))
SIZE_OR_NULL: Callable[[Any, Any, Any], None] = validators.optional(validators.matches_re(SIZE))
FRACTION_OR_ALL = (validators.gt(0.0), validators.le(1.0))
FRACTION = (validators.ge(0.0), validators.lt(1.0))
OUTPUT = "outputs"
"""The folder that holds all runs, unless a config says otherwise."""

FILE_NAME = r"[A-Za-z0-9][\w.-]*"
"""What may become a part of a file name: run names and labels."""

COMPONENT_KINDS: Mapping[str, Kind] = {
    "model": "backend",
    "data": "dataset",
    "loss": "loss",
    "target": "loss",
    "metrics": "metric",
    "analyses": "analysis",
    "evaluations": "evaluation",
    "interventions": "intervention",
    "pruning": "pruner",
    "recovery": "recovery",
    "reports": "report",
}
"""The sections that name components, and the kind that each of them names."""

REQUIRED_SECTIONS = frozenset({"model", "data"})
"""The sections that every run has."""

SINGLE_SECTIONS = REQUIRED_SECTIONS | {"loss", "target"}
"""The sections that name one component; the others name any number."""

LABELLED_SECTIONS = frozenset({"metrics", "evaluations", "interventions", "pruning", "recovery"})
"""The sections that may name one component several times, under labels."""


SECTION = "metrics"
"""The one section that takes patterns."""

FAMILY = "family:"
"""What a pattern starts with that names families; no distribution can be called so."""


def is_pattern(name: str) -> bool:
    """Say whether a name has wildcards or names a family."""
    return name.startswith(FAMILY) or any(character in name for character in "*?[")


def is_component(path: KeyPath) -> bool:
    """Say whether a component stands at `path`: ``("model",)`` or ``("metrics", 2)``."""
    if len(path) == 1:
        return path[0] in COMPONENT_KINDS
    several = len(path) == 2 and path[0] in COMPONENT_KINDS and path[0] not in SINGLE_SECTIONS
    return several and isinstance(path[1], int)


@frozen
class Component:
    """A component chosen by name, with its own options (checked against its class).

    Attributes:
        name: the name that a plugin offers it under.
        options: the component's own keys, plain YAML values.
        label: the name in results, where one component is used several times.
    """

    name: str
    options: dict[str, Any] = field(factory=dict)  # Any: YAML values, typed by the component
    label: str | None = None

    @property
    def result_name(self) -> str:
        """The name that results and files carry: the label, else the name without distribution."""
        if self.label is not None:
            return self.label
        return self.name if is_pattern(self.name) else self.name.rpartition(":")[2]


@frozen
class PluginSettings:
    """Which plugins are loaded.

    Attributes:
        only: distributions with optional entries and version ranges; empty means all that are
            installed.
        disable: plugins that stay out, named in the same way.
    """

    only: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()


@frozen
class DataSettings:
    """The dataset and what happens to it before the model sees it.

    Attributes:
        component: the dataset and its own options.
        batch_size: samples that go through the model at once.
        test_fraction: fraction of the samples that is kept for the final evaluation; not used by
            datasets that come with their own test samples.
        validation_fraction: fraction of the training samples that chooses the best weights.
        subset: number of samples that are kept, chosen by the seed; null keeps all.
        normalize: whether inputs get mean 0 and standard deviation 1 over the training samples.
    """

    component: Component
    batch_size: int = field(default=256, validator=POSITIVE)
    test_fraction: float = field(default=0.2, validator=FRACTION)
    validation_fraction: float = field(default=0.1, validator=FRACTION)
    subset: int | None = field(default=None, validator=POSITIVE_OR_NULL)
    normalize: bool = True


@frozen
class TrainingSettings:
    """How the model is trained before it is studied; a run without this section does not train.

    Attributes:
        epochs: passes over the training samples.
        optimizer: the update rule.
        learning_rate: size of the first steps.
        weight_decay: decoupled for adamw, an L2 penalty for the others.
        momentum: of sgd; the others ignore it.
        schedule: whether the learning rate stays or falls to zero along half a cosine.
        label_smoothing: fraction of the target that is spread over all classes.
        patience: epochs without a better validation loss after which training stops; null never
            stops early.
    """

    epochs: int = field(default=10, validator=POSITIVE)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = field(default=2e-3, validator=POSITIVE)
    weight_decay: float = field(default=1e-4, validator=validators.ge(0.0))
    momentum: float = field(default=0.9, validator=FRACTION)
    schedule: Literal["constant", "cosine"] = "cosine"
    label_smoothing: float = field(default=0.0, validator=FRACTION)
    patience: int | None = field(default=None, validator=POSITIVE_OR_NULL)


@renamed_arguments(stable="min_overlap")
@frozen
class StoppingSettings:
    """When enough samples have been read: once the two halves of them agree about the top nodes.

    Attributes:
        metric: the metric whose top nodes have to be stable, as it is named in the results.
        top: the fraction of each group's nodes that is the top.
        min_overlap: the overlap (Jaccard) of the two tops that is enough.
    """

    metric: str = field(validator=validators.min_len(1))
    top: float = field(default=0.1, validator=(validators.gt(0.0), validators.lt(1.0)))
    min_overlap: float = field(default=0.95, validator=FRACTION_OR_ALL)


@renamed_arguments(tokens="position_fraction", until="stop_when")
@frozen
class CaptureSettings:
    """Which samples the statistics are taken from (always of the training split), and how.

    Attributes:
        samples: number of samples; null takes all.
        folds: parts of the samples that are kept apart for standard errors.
        balanced: whether every class gives the same number of samples.
        memory_budget: the memory for statistics, such as 512MiB or 4GiB; a plan that needs more
            reads the data several times, or keeps covariances in fewer folds or as sketches, and
            says so. null sets no limit.
        position_fraction: fraction of the positions (tokens, pixels; samples that have one) that
            products of pairs of nodes are taken from, which cost most; other statistics see all.
            The standard errors of what is scored from them are up to sqrt(1 / position_fraction)
            times as wide.
        stop_when: when to stop before all samples are read; null reads them all.
        seed: what probes and sampled labels are drawn from; null takes the run's seed.
        checkpoint_seconds: how often the statistics are written to the run folder, from where a
            killed run goes on; 0 does it after every batch, null never.
    """

    samples: int | None = field(default=1024, validator=POSITIVE_OR_NULL)
    folds: int = field(default=8, validator=validators.ge(2))
    balanced: bool = False
    memory_budget: str | None = field(
        default="2GiB",
        validator=SIZE_OR_NULL,
        metadata={"expected": SIZE_WORDS},
    )
    position_fraction: float = field(default=1.0, validator=FRACTION_OR_ALL)
    stop_when: StoppingSettings | None = field(default=None)
    seed: int | None = field(default=None, validator=validators.optional(validators.ge(0)))
    checkpoint_seconds: float | None = field(default=60.0, validator=AT_LEAST_0_OR_NULL)


@frozen
class RunConfig:
    """A whole run, resolved: every name known, every option checked.

    Attributes:
        model: the backend that builds or loads the model.
        data: the dataset, its division and its batches.
        name: the run's name, a folder under `output`.
        seed: what every random choice is derived from.
        device: where the model runs; auto takes the best that is there.
        threads: CPU threads; null leaves it to torch. Small models run best with one.
        plugins: which plugins are loaded.
        loss: what the model minimises, in training, scores and evaluations; null is the model's own
            where its backend knows one, else the cross-entropy of classes.
        target: a function of the outputs that nodes are scored for in place of the loss, such as
            the logit of one class; null scores them for the loss.
        training: how the model is trained; null studies it as it is.
        capture: which samples the statistics are taken from.
        metrics: what scores the nodes.
        analyses: what is computed from the scores.
        evaluations: measures of the whole model beside its test samples, such as perplexity.
        interventions: tests of the scores by ablating nodes.
        pruning: the pruning methods to compare.
        recovery: ways to train every pruned model afterwards.
        reports: what is written at the end.
        output: the folder that holds all runs.
    """

    model: Component
    data: DataSettings
    name: str = field(
        default="run",
        validator=validators.matches_re(FILE_NAME),
        metadata={"expected": "a name of letters, digits, '.', '_' and '-'"},
    )
    seed: int = field(default=0, validator=validators.ge(0))
    device: str = field(
        default="auto",
        validator=validators.matches_re(r"auto|cpu|cuda(:\d+)?"),
        metadata={"expected": "auto, cpu, cuda or cuda:N"},
    )
    threads: int | None = field(default=None, validator=THREADS_OR_NULL)
    plugins: PluginSettings = PluginSettings()
    loss: Component | None = None
    target: Component | None = None
    training: TrainingSettings | None = None
    capture: CaptureSettings = CaptureSettings()
    metrics: tuple[Component, ...] = ()
    analyses: tuple[Component, ...] = ()
    evaluations: tuple[Component, ...] = ()
    interventions: tuple[Component, ...] = ()
    pruning: tuple[Component, ...] = ()
    recovery: tuple[Component, ...] = ()
    reports: tuple[Component, ...] = (Component("html"), Component("json"))
    output: str = field(default=OUTPUT, validator=validators.min_len(1))


SECTIONS = tuple(each.name for each in fields(RunConfig))
"""The top-level keys of a run."""
