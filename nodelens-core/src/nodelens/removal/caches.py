"""Caches in plain attributes: what a forward fills again once it is empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from attrs import evolve

from nodelens.channels.held_state import HeldTensor, held_tensors, tensors_in
from nodelens.channels.rules.table import operator_table
from nodelens.removal.double_precision import own_tolerance, relative_difference
from nodelens.removal.forward import Example, Run, forward
from nodelens.removal.journal import Journal

if TYPE_CHECKING:
    from nodelens.removal.attempt import Request

Empty = Callable[[Journal], None]


def empty_caches(request: Request, journal: Journal) -> tuple[str, ...]:
    """Empty every cache that a model holds in plain attributes; return their places.

    A tensor, or a list of tensors, is cached if the forward works without it, with the same
    outputs, and sets it again.
    """
    held = held_tensors(request.model)
    examples = [evolve(request.example, training=mode) for mode in (None, False)]
    before = [_run(request, example) for example in examples] if held else []
    emptied = []
    for each in [] if any(run.error for run in before) else held:
        for empty in _ways(each):
            if _is_filled(request, examples, before, each, empty):
                empty(journal)
                emptied.append(each.place)
                break
    return tuple(emptied)


def _ways(held: HeldTensor) -> Iterator[Empty]:
    """Yield the ways to empty a place: without an entry, with None, with an empty list."""
    holder, key = held.holder, held.key
    yield lambda journal: journal.remove_item(holder, key)
    yield lambda journal: journal.set_item(holder, key, None)
    if isinstance(holder[key], list):
        yield lambda journal: journal.set_item(holder, key, [])


def _is_filled(
    request: Request,
    examples: Sequence[Example],
    before: Sequence[Run],
    held: HeldTensor,
    empty: Empty,
) -> bool:
    """Whether some forward fills an emptied place again, and all return what they did before."""
    filled: list[bool] = []

    def look() -> None:
        filled.append(next(tensors_in(held.holder.get(held.key)), None) is not None)

    journal = Journal()
    empty(journal)
    try:
        runs = [_run(request, example, look) for example in examples]
    finally:
        journal.undo()
    moved = (relative_difference(a.outputs, b.outputs) for a, b in zip(runs, before, strict=True))
    return any(filled) and max(moved) <= own_tolerance(request.model)


def _run(request: Request, example: Example, after: Callable[[], None] = lambda: None) -> Run:
    operators = operator_table(request.graph.operators)
    return forward(request.model, example, False, operators, after=after)
