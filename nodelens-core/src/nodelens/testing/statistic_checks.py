"""Checks of a statistic: a sum over rows, whatever their order, batches and merges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import torch
from attrs import evolve
from torch import Tensor

from nodelens.capture.hooks.site_reading import without_values
from nodelens.interfaces.statistic import AnyStatistic, Layout, State, Statistic
from nodelens.seeding import generator
from nodelens.statistics.rows import mean_of
from nodelens.statistics.sample_draws import some_samples
from nodelens.statistics.sums import take
from nodelens.testing.checks import Check, demand
from nodelens.testing.imports import check_light
from nodelens.testing.rewritings import pad, select_rows
from nodelens.testing.world import FOLDS, World, layout_of, make_world
from nodelens.testing.world_view import accumulate, reading_for

TOLERANCE = 1e-10
"""The largest rounding difference, relative to the largest value of a field."""

_TRIALS = 5
_GRADIENTS = frozenset({"gradient", "sampled_gradient"})


def check_statistic(statistic: Statistic[Any]) -> list[Check]:
    """Return the checks of one statistic.

    Args:
        statistic: an instance with its options.

    Returns:
        Named checks, each to be run by itself.
    """
    name, module = str(statistic), type(statistic).__module__
    return [
        Check(f"{name}: light import", partial(check_light, module)),
        *(Check(f"{name}: {label}", partial(run, statistic)) for label, run in _CHECKS.items()),
    ]


def tensors_of(summary: object) -> dict[str, Tensor]:
    """Return the tensors among the fields of a summary and of summaries in it, by name."""
    if isinstance(summary, Tensor):
        return {"summary": summary}
    fields = dict(summary) if isinstance(summary, Mapping) else _fields(summary)
    found = {name: value for name, value in fields.items() if isinstance(value, Tensor)}
    for name, value in fields.items():
        for number, each in enumerate(value if isinstance(value, tuple) else ()):
            inside = tensors_of(each)
            found |= {f"{name}[{number}].{key}": tensor for key, tensor in inside.items()}
    return found


def _fields(value: object) -> dict[str, Any]:
    kind: Any = type(value)
    if attrs.has(kind):
        return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
    return vars(value)


def summary_of(statistic: AnyStatistic[Any], state: State) -> dict[str, Tensor]:
    """Return the tensors of the summary over all folds, by name."""
    return tensors_of(statistic.summary(state, torch.ones(FOLDS, dtype=torch.bool)))


def _whole(statistic: Statistic[Any], world: World) -> dict[str, Tensor]:
    return summary_of(statistic, accumulate(statistic, world))


def demand_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Raise `AssertionError` unless two summaries are equal up to rounding."""
    demand(expected, "the summary has no tensor")
    for name, value in expected.items():
        scale = value.abs().max().clamp(min=torch.finfo(value.dtype).tiny)
        error = float((found[name] - value).abs().max() / scale)
        demand(error <= TOLERANCE, f"{what} changed {name} by {error:.1e} of its largest value")


def _shards(world: World, seed: int) -> list[Tensor]:
    """Return the rows in a random order, split at random places; some parts may be empty."""
    random = generator(seed, "testing", "shards")
    order = torch.randperm(world.rows, generator=random)
    cuts = torch.randint(1, world.rows, (3,), generator=random).sort().values.tolist()
    return list(order.tensor_split(cuts))


def _states(statistic: Statistic[Any], world: World, seed: int) -> list[State]:
    shards = [rows for rows in _shards(world, seed) if len(rows)]
    return [accumulate(statistic, world, [rows]) for rows in shards]


def _partition(statistic: Statistic[Any]) -> None:
    world = make_world()
    for seed in range(_TRIALS):
        batches = [rows for rows in _shards(world, seed) if len(rows)]
        found = summary_of(statistic, accumulate(statistic, world, batches))
        demand_same(found, _whole(statistic, world), "another order and batching of the rows")


def _merge(statistic: Statistic[Any]) -> None:
    world = make_world()
    for seed in range(_TRIALS):
        total = statistic.start(layout_of(world, statistic.reads))
        for state in _states(statistic, world, seed):
            statistic.merge(total, state)
        demand_same(summary_of(statistic, total), _whole(statistic, world), "merging parts")


def _associative(statistic: Statistic[Any]) -> None:
    world = make_world()
    rows = torch.arange(world.rows).tensor_split(3)

    def parts() -> list[State]:
        return [accumulate(statistic, world, [part]) for part in rows]

    left, middle, right = parts()
    statistic.merge(left, middle)
    statistic.merge(left, right)
    first, second, third = parts()
    statistic.merge(second, third)
    statistic.merge(first, second)
    demand_same(summary_of(statistic, first), summary_of(statistic, left), "the grouping of merges")


def _empty(statistic: Statistic[Any]) -> None:
    world = make_world()
    expected = _whole(statistic, world)
    state = accumulate(statistic, world)
    statistic.merge(state, statistic.start(layout_of(world, statistic.reads)))
    demand_same(summary_of(statistic, state), expected, "merging an empty state")
    empty = statistic.start(layout_of(world, statistic.reads))
    statistic.merge(empty, accumulate(statistic, world))
    demand_same(summary_of(statistic, empty), expected, "merging into an empty state")


def _other_unmodified(statistic: Statistic[Any]) -> None:
    world = make_world()
    left, right = (accumulate(statistic, world, [part]) for part in (slice(0, 9), slice(9, None)))
    before = {name: value.clone() for name, value in right.items()}
    statistic.merge(left, right)
    statistic.update(left, reading_for(statistic, world))
    for name, value in before.items():
        demand(torch.equal(right[name], value), f"merge changed {name} of the other state")


def _reading_unmodified(statistic: Statistic[Any]) -> None:
    world = pad(make_world())
    given = reading_for(statistic, world)
    before = attrs.asdict(given)
    copies = {name: value.clone() for name, value in before.items() if isinstance(value, Tensor)}
    statistic.update(statistic.start(layout_of(world, statistic.reads)), given)
    for name, value in copies.items():
        demand(torch.equal(getattr(given, name), value), f"update changed the reading's {name}")


def _padding(statistic: Statistic[Any]) -> None:
    world = make_world()
    demand_same(_whole(statistic, pad(world)), _whole(statistic, world), "masked padding")


def _folds(statistic: Statistic[Any]) -> None:
    if getattr(statistic, "pooled", False):
        return
    world = make_world()
    kept = [row for row in range(world.rows) if int(world.fold[row]) in (0, 2)]
    keep = torch.tensor([True, False, True, False])
    found = tensors_of(statistic.summary(accumulate(statistic, world), keep))
    demand_same(found, _whole(statistic, select_rows(world, kept)), "leaving out folds 1 and 3")


def _fraction(statistic: Statistic[Any]) -> None:
    world = make_world()
    if "quadratic" not in statistic.requires or "whole_rows" in statistic.requires:
        return

    def added(batches: list[Tensor]) -> dict[str, Tensor]:
        state = statistic.start(layout_of(world, statistic.reads))
        for rows in batches:
            statistic.update(state, some_samples(reading_for(statistic, world, rows), 0.5))
        return summary_of(statistic, state)

    batches = [rows for rows in _shards(world, 0) if len(rows)]
    demand_same(
        added(batches), added([torch.arange(world.rows)]), "batching a fraction of the samples"
    )


def _declared_inputs(statistic: Statistic[Any]) -> None:
    world = make_world()
    given = reading_for(statistic, world)
    state = statistic.start(layout_of(world, statistic.reads))
    bare = evolve(
        given,
        gradient=given.gradient if statistic.requires & _GRADIENTS else None,
        targets=given.targets if "targets" in statistic.requires else None,
        outputs=given.outputs if "outputs" in statistic.requires else None,
    )
    statistic.update(state, bare)
    demand_same(
        summary_of(statistic, state), _whole(statistic, world), "inputs that are not declared"
    )


def _row_sums(statistic: Statistic[Any]) -> None:
    wanted = getattr(statistic, "row_sums", None)
    if wanted is None:
        return
    world = pad(make_world())
    given = reading_for(statistic, world)
    given = evolve(given, pivot=mean_of(given))
    states = [statistic.start(layout_of(world, statistic.reads)) for _ in range(2)]
    statistic.update(states[0], given)
    summed = evolve(given, shared={})
    take(summed, wanted)
    statistic.update(states[1], without_values(summed))
    whole, by_sums = (summary_of(statistic, state) for state in states)
    demand_same(by_sums, whole, "reading its row_sums alone")


def _floats(statistic: Statistic[Any]) -> None:
    world = make_world()
    held = sum(value.numel() for value in accumulate(statistic, world).values())
    said = statistic.floats(layout_of(world, statistic.reads))
    demand(held == said, f"a state holds {held} values, floats() says {said}")


def _dtype(statistic: Statistic[Any]) -> None:
    world = make_world()
    half = evolve(
        world,
        inputs=world.inputs.bfloat16(),
        pre=world.pre.bfloat16(),
        activation=world.activation.bfloat16(),
        gradient=world.gradient.bfloat16(),
    )
    for name, value in accumulate(statistic, half).items():
        demand(value.dtype == torch.float64, f"{name} is {value.dtype}, not torch.float64")


def _saved(statistic: Statistic[Any]) -> None:
    from nodelens.storage.tensors import read_state, write_state

    world = make_world()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        write_state(path, accumulate(statistic, world, [slice(0, 9)]), {})
        state = read_state(path)
    statistic.update(state, reading_for(statistic, world, slice(9, None)))
    direct = accumulate(statistic, world, [slice(0, 9), slice(9, None)])
    demand_same(summary_of(statistic, state), summary_of(statistic, direct), "saving half way")


def _device(statistic: Statistic[Any]) -> None:
    state = statistic.start(Layout(width=3, folds=2, classes=2, others=2, device="meta"))
    for name, value in state.items():
        demand(value.device.type == "meta", f"{name} is on {value.device}, not on the layout's")


def _shared(statistic: Statistic[Any]) -> None:
    twin = type(statistic)(**_fields(statistic))
    demand(twin == statistic, "equal statistics compare unequal: use attrs.frozen")
    demand(hash(twin) == hash(statistic), "equal statistics hash differently: use attrs.frozen")


SUMS: Mapping[str, Callable[[Any], None]] = {
    "any order and batching": _partition,
    "any merge": _merge,
    "merge is associative": _associative,
    "merge with nothing": _empty,
    "padding is invisible": _padding,
    "folds": _folds,
    "floats() is what a state holds": _floats,
    "float64 sums of half precision": _dtype,
    "device": _device,
    "equal statistics are shared": _shared,
}
"""Checks of every sum over rows, also of statistics with passes of their own."""

_CHECKS: Mapping[str, Callable[[Statistic[Any]], None]] = {
    **SUMS,
    "merge leaves the other state": _other_unmodified,
    "reading unmodified": _reading_unmodified,
    "any batching of a fraction of the samples": _fraction,
    "declared inputs suffice": _declared_inputs,
    "declared row sums suffice": _row_sums,
    "saved and resumed": _saved,
}
