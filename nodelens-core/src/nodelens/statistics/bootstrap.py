"""Bootstrap replicates of a statistic, in the same pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import Attribute, evolve, field, frozen, validators

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import (
        Layout,
        Need,
        Reading,
        ReadPoint,
        State,
        Statistic,
    )

_MOST = 12
"""The largest weight of a row; a weight of 13 or more has probability 6·10⁻¹¹."""


@frozen(eq=False)
class BootstrapSummary:
    """One summary of a statistic per bootstrap replicate, in the order of the replicates."""

    replicates: tuple[Any, ...]


def _is_additive(instance: object, attribute: Attribute[Any], value: object) -> None:
    if not getattr(value, "additive", False):
        raise ValueError(
            f"{value} cannot be bootstrapped: its fields are not all sums over rows; give a "
            "statistic whose class says `additive = True`, such as Moments or GradientMoments"
        )


@frozen
class Bootstrap:
    """Bootstrap replicates of a statistic, each with a weight 0, 1, 2, … per row (block B17).

    The weight is a Poisson number of mean 1, from a hash of the row's number in the data and of the
    replicate's number: replicates of two processes merge, and every site draws the same rows. A row
    is a whole image or sequence, so that dependence between positions is kept. Source: Chamandy et
    al. 2012, "Estimating uncertainty for massive data streams".

    Attributes:
        of: a statistic whose fields are sums over rows.
        replicates: the number of replicates.
    """

    of: Statistic[Any] = field(validator=_is_additive)
    replicates: int = field(default=32, validator=validators.ge(2))

    @property
    def reads(self) -> ReadPoint:
        return self.of.reads

    @property
    def requires(self) -> frozenset[Need]:
        return self.of.requires

    def floats(self, layout: Layout) -> int:
        return self.of.floats(self._layout(layout))

    def start(self, layout: Layout) -> State:
        """Return empty states, with an axis of replicates after the folds."""
        return self._apart(self.of.start(self._layout(layout)))

    def update(self, state: State, reading: Reading) -> None:
        """Add every row to each fold and replicate with its weight."""
        import torch

        folds = torch.arange(_folds(state), device=reading.fold.device)
        own = (reading.fold.unsqueeze(-1) == folds).double().unsqueeze(-1)
        weights = own * self._weights(reading).unsqueeze(1)
        together = _together(state)
        self.of.update(together, evolve(reading, fold=weights.flatten(1)))
        _take_pivot(state, together)

    def _weights(self, reading: Reading) -> Tensor:
        """Return the weight of each row, ``(rows, replicates)`` float64."""
        import torch

        from nodelens.statistics.sample_draws import mix, row_keys

        numbers = torch.arange(self.replicates, device=reading.fold.device)
        hashes = mix(mix(row_keys(reading)).unsqueeze(-1) + numbers)
        counts = torch.arange(_MOST, dtype=torch.float64, device=hashes.device)
        below = (-1.0 - torch.lgamma(counts + 1.0)).exp().cumsum(0)
        return torch.searchsorted(below, hashes.double() / 2.0**63, right=True).double()

    def merge(self, state: State, other: State) -> None:
        together = _together(state)
        self.of.merge(together, _together(other))
        _take_pivot(state, together)

    def summary(self, state: State, keep: Tensor) -> BootstrapSummary:
        states = (self.replicate(state, number) for number in range(self.replicates))
        return BootstrapSummary(tuple(self.of.summary(each, keep) for each in states))

    def replicate(self, state: State, number: int) -> State:
        """Return the state of the statistic in one replicate."""
        return {
            name: value if name == "pivot" else value[:, number] for name, value in state.items()
        }

    def _layout(self, layout: Layout) -> Layout:
        return evolve(layout, folds=layout.folds * self.replicates)

    def _apart(self, state: State) -> State:
        return {
            name: value if name == "pivot" else value.view(-1, self.replicates, *value.shape[1:])
            for name, value in state.items()
        }


def _together(state: State) -> State:
    """Return views in which replicates are folds."""
    return {
        name: value if name == "pivot" else value.flatten(0, 1) for name, value in state.items()
    }


def _take_pivot(state: State, together: State) -> None:
    if "pivot" in together:
        state.setdefault("pivot", together["pivot"])


def _folds(state: State) -> int:
    return next(len(value) for name, value in state.items() if name != "pivot")
