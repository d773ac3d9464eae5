"""The search for the integers that must follow a removal, by equivalence checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field
from torch import nn

from nodelens.removal.adjustments import (
    Adjustment,
    AttributeRule,
    RuleOrHint,
    adjustment,
    adjustments,
)
from nodelens.removal.equivalence import References, Trouble, compare
from nodelens.removal.integers import perform
from nodelens.removal.journal import Journal
from nodelens.removal.shrunk_axes import ShrunkAxis

MOST_TRIALS = 60
MOST_CHANGES = 6
# Trials that a first change which brings the model further leaves for other first changes.
RESERVE = 20

# Names of the number of heads in modules; it follows even where the forward does not read it.
HEAD_COUNTS = frozenset(
    [
        "num_heads",
        "n_heads",
        "n_head",
        "num_attention_heads",
        "num_key_value_heads",
        "num_kv_heads",
        "n_kv_heads",
    ]
)


@define(eq=False)
class Search:
    """A depth-first search at the module that fails, with the nearest candidates first."""

    model: nn.Module
    against: References
    journal: Journal
    shrinking: Sequence[ShrunkAxis]
    origin: int
    trials: int = 0
    limit: int = MOST_TRIALS
    moved: float = 0.0
    furthest: Trouble | None = None
    performed: list[Adjustment] = field(factory=list)
    seen: set[frozenset[RuleOrHint]] = field(factory=set)
    _candidates: list[Adjustment] | None = None

    def run(self, hints: Sequence[AttributeRule], known: Sequence[Adjustment]) -> Trouble | None:
        """Find the integers that make the smaller model agree; return the trouble that remains.

        First hints and `known` adjustments are tried as they are, then a search starts from the
        known ones, then one without them, then one from both. The trouble is that of the setting
        with which the model came furthest: everything before it can be adjusted.
        """
        hinted = [adjustment(self.model, rule, self.shrinking) for rule in hints]
        starts = [[*_apart([*known, *hinted])], [*known], [], [*_apart([*known, *hinted])]]
        if starts[0] and self._start(starts[0]) is None:
            return None
        for start in [each for at, each in enumerate(starts) if at and each not in starts[1:at]]:
            if self._solve(self._start(start), MOST_CHANGES):
                return None
        return self.furthest

    def _start(self, adjusted: Sequence[Adjustment]) -> Trouble | None:
        """Return to the bare removal, perform some adjustments, and run the model."""
        self.journal.undo(self.origin)
        self.performed.clear()
        self.trials, self._candidates = 0, None
        for each in adjusted:
            self._perform(each)
        return self._try()

    def follow_names(self) -> None:
        """Let unread head counts follow too, as long as the model still agrees."""
        for each in self._all():
            (rule, *others) = each.rules
            named = isinstance(rule, AttributeRule) and rule.attribute in HEAD_COUNTS
            if named and not others and not self._taken() & each.effect.keys():
                mark = self.journal.mark
                self._perform(each)
                if self._try() is not None:
                    self._take_back(mark)

    def _all(self) -> list[Adjustment]:
        if self._candidates is None:
            self._candidates = adjustments(self.model, self.shrinking)
        return self._candidates

    def _try(self) -> Trouble | None:
        self.trials += 1
        found = compare(self.model, self.against, self.journal)
        if found.trouble is None:
            self.moved = found.moved
        elif self.furthest is None or found.trouble.operators > self.furthest.operators:
            self.furthest = found.trouble
        return found.trouble

    def _perform(self, each: Adjustment) -> None:
        perform(self.model, each.effect, self.journal)
        self.performed.append(each)

    def _take_back(self, mark: int) -> None:
        self.performed.pop()
        self.journal.undo(mark)

    def _solve(
        self,
        problem: Trouble | None,
        depth: int,
        patience: int = 1,
        idle: frozenset[tuple[RuleOrHint, ...]] = frozenset(),
    ) -> bool:
        """Change integers until no problem is left; changes that bring the forward further first.

        `patience` is how many changes in a row may leave the problem in its module. A change is
        `idle` where every operator up to the problem is given the same sizes as without it: it
        cannot help there, alone or with others.
        """
        if problem is None:
            return True
        level: list[tuple[Adjustment, Trouble]] = []
        still = set(idle)
        for each in self._near(problem, still):
            if not depth or self.trials >= self.limit:
                return False
            if self._fresh(each):
                mark = self.journal.mark
                self._perform(each)
                after = self._try()
                further = after is None or after.operators > problem.operators
                if further and self._go_on(after, depth):
                    return True
                if after is not None and after.at == problem.at:
                    still.add(each.rules)
                elif after is not None and not further and after.module == problem.module:
                    level.append((each, after))
                self._take_back(mark)
        again = frozenset(still)
        return patience > 0 and any(self._again(*each, depth, patience, again) for each in level)

    def _go_on(self, after: Trouble | None, depth: int) -> bool:
        """Solve the next problem, with some trials left over where this was the first change."""
        self.limit = MOST_TRIALS - RESERVE if depth == MOST_CHANGES else self.limit
        solved = self._solve(after, depth - 1)
        self.limit = MOST_TRIALS if depth == MOST_CHANGES else self.limit
        return solved

    def _near(self, problem: Trouble, idle: set[tuple[RuleOrHint, ...]]) -> Iterator[Adjustment]:
        """Yield the candidates that are not idle, nearest first.

        Candidates beyond the nearest class are tried all at once, then all attributes of one name,
        then each: mostly the model reads none of them, and they are idle all together.
        """
        found = [each for each in self._all() if each.rules not in idle]
        found.sort(key=lambda each: each.order(problem.module))
        near = [each for each in found if each.kind == found[0].kind]
        far = [each for each in found if each.kind != found[0].kind]
        yield from near
        if not self._idle_together(far, problem):
            names: dict[str, list[Adjustment]] = defaultdict(list)
            for each in far:
                names[each.name].append(each)
            for alike in names.values():
                if len(alike) == 1 or not self._idle_together(alike, problem):
                    yield from alike
                else:
                    idle.update(each.rules for each in alike)
        else:
            idle.update(each.rules for each in far)

    def _idle_together(self, alike: Sequence[Adjustment], problem: Trouble) -> bool:
        mark, count = self.journal.mark, len(self.performed)
        for each in alike:
            if not self._taken() & each.effect.keys():
                self._perform(each)
        after = self._try() if self.trials < self.limit else None
        del self.performed[count:]
        self.journal.undo(mark)
        return after is not None and after.at == problem.at

    def _again(
        self,
        each: Adjustment,
        after: Trouble,
        depth: int,
        patience: int,
        idle: frozenset[tuple[RuleOrHint, ...]],
    ) -> bool:
        mark = self.journal.mark
        self._perform(each)
        if self._solve(after, depth - 1, patience - 1, idle):
            return True
        self._take_back(mark)
        return False

    def _taken(self) -> set[tuple[str, str]]:
        return {place for done in self.performed for place in done.effect}

    def _fresh(self, each: Adjustment) -> bool:
        """Whether a candidate sets only integers that are not set yet, in a new combination."""
        rules = (*each.rules, *(rule for done in self.performed for rule in done.rules))
        combination = frozenset(rules)
        if self._taken() & each.effect.keys() or combination in self.seen:
            return False
        self.seen.add(combination)
        return True


def _apart(adjusted: Iterable[Adjustment]) -> Iterator[Adjustment]:
    """Yield the adjustments whose integers no earlier one sets."""
    taken: set[tuple[str, str]] = set()
    for each in adjusted:
        if each.effect and not taken & each.effect.keys():
            taken |= each.effect.keys()
            yield each
