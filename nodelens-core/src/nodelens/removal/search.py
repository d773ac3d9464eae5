"""The search for the integers that must follow a removal, with a proof at its end."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from torch import nn

from nodelens.removal.adjustments import (
    Adjustment,
    AttributeRule,
    Source,
    adjustment,
    adjustments,
    perform,
)
from nodelens.removal.forward import Example
from nodelens.removal.journal import Journal
from nodelens.removal.proof import Reference, Trouble, compare

MOST_TRIALS = 60
MOST_CHANGES = 6

# What modules call the number of their heads; it follows even where the forward does not read it.
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
    """Depth-first: at the place where the model goes wrong, nearest candidates first."""

    model: nn.Module
    example: Example
    against: Reference
    journal: Journal
    shrinking: Sequence[Source]
    origin: int
    trials: int = 0
    moved: float = 0.0
    performed: list[Adjustment] = field(factory=list)
    seen: set[frozenset[AttributeRule]] = field(factory=set)
    _candidates: list[Adjustment] | None = None

    def run(self, hints: Sequence[AttributeRule]) -> Trouble | None:
        """Find the integers that make the removed model right; return the trouble that remains.

        First the hints as they are, then a search without them, then one that starts from them.
        """
        hinted = [adjustment(self.model, rule, self.shrinking) for rule in hints]
        hinted = [each for each in hinted if each.effect]
        if hinted and self._start(hinted) is None:
            return None
        first = self._start([])
        if self._solve(first, MOST_CHANGES):
            return None
        return None if hinted and self._solve(self._start(hinted), MOST_CHANGES) else first

    def _start(self, adjusted: Sequence[Adjustment]) -> Trouble | None:
        """Go back to the bare removal, perform some adjustments, and run the model."""
        self.journal.undo(self.origin)
        self.performed.clear()
        self.trials = 0
        for each in adjusted:
            self._perform(each)
        return self._try()

    def follow_names(self) -> None:
        """Let unread head counts follow too, as long as the model still agrees."""
        for each in self._all():
            module, attribute = each.rule.module, each.rule.attribute
            done = {(other.rule.module, other.rule.attribute) for other in self.performed}
            if attribute in HEAD_COUNTS and (module, attribute) not in done:
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
        found = compare(self.model, self.example, self.against, self.journal)
        if found.trouble is None:
            self.moved = found.moved
        return found.trouble

    def _perform(self, each: Adjustment) -> None:
        perform(self.model, each.effect, self.journal)
        self.performed.append(each)

    def _take_back(self, mark: int) -> None:
        self.performed.pop()
        self.journal.undo(mark)

    def _solve(self, problem: Trouble | None, depth: int, patience: int = 1) -> bool:
        """Change integers until no problem is left; what brings the forward further goes first.

        `patience` is how many changes in a row may leave it where it was.
        """
        if problem is None:
            return True
        level: list[tuple[Adjustment, Trouble]] = []
        for each in sorted(self._all(), key=lambda each: each.order(problem.module)):
            if not depth or self.trials >= MOST_TRIALS:
                return False
            if self._fresh(each):
                mark = self.journal.mark
                self._perform(each)
                after = self._try()
                further = after is None or after.operators > problem.operators
                if further and self._solve(after, depth - 1):
                    return True
                if after is not None and after.operators == problem.operators:
                    level.append((each, after))
                self._take_back(mark)
        return patience > 0 and any(self._again(*each, depth, patience) for each in level)

    def _again(self, each: Adjustment, after: Trouble, depth: int, patience: int) -> bool:
        mark = self.journal.mark
        self._perform(each)
        if self._solve(after, depth - 1, patience - 1):
            return True
        self._take_back(mark)
        return False

    def _fresh(self, each: Adjustment) -> bool:
        """Whether the candidate sets nothing that is set already, in a new combination."""
        taken = {place for done in self.performed for place in done.effect}
        combination = frozenset([each.rule, *(done.rule for done in self.performed)])
        if taken & set(each.effect) or combination in self.seen:
            return False
        self.seen.add(combination)
        return True
