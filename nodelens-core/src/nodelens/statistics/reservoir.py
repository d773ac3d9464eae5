"""A random choice of samples of a site, with equal choices at all sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State

_HASH_BITS = 52
"""Bits of a hash that float64 holds exactly."""


@frozen(eq=False)
class ReservoirSummary:
    """The chosen samples in a random order: `values` is ``(samples, nodes)`` float64.

    `index`, ``(samples,)``, is the number of a sample's row in the data, `position` its place in
    the row (0 for whole rows). `targets`, ``(samples,)``, are the rows' class labels, -100 where a
    row has none; None unless the statistic keeps them. All are float64.
    """

    values: Tensor
    index: Tensor
    position: Tensor
    targets: Tensor | None = None


@renamed_arguments(tap="reads")
@frozen
class Reservoir:
    """The samples with the smallest hashes of their number in the data (block B13).

    A random sample of all samples, or all of them where there are no more than `size`; each knows
    its fold. Sites with the same positions keep the same samples. The places of a state are shared
    by all folds, so that uneven folds lose none.

    Attributes:
        reads: the read point.
        size: samples that are kept.
        per: a sample is one position, or one row: the mean of its values, the sum of its gates.
        of: the value, or the gate q = a·g, summed over a node's components.
        targets: keep the rows' labels too; the data must have them.
    """

    reads: ReadPoint = "activation"
    size: int = field(default=2048, validator=validators.ge(1))
    per: Literal["position", "row"] = field(
        default="position", validator=validators.in_(("position", "row"))
    )
    of: Literal["value", "gate"] = field(
        default="value", validator=validators.in_(("value", "gate"))
    )
    targets: bool = False
    pooled: ClassVar[bool] = True

    @property
    def requires(self) -> frozenset[Need]:
        from nodelens.statistics.quantities import needs_of

        rows: frozenset[Need] = frozenset({"whole_rows"} if self.per == "row" else ())
        labels: frozenset[Need] = frozenset({"targets"} if self.targets else ())
        return needs_of(self.of) | rows | labels

    def floats(self, layout: Layout) -> int:
        from nodelens.statistics.quantities import width_of

        width = width_of(layout, self.of)
        return layout.folds * self._room(layout.folds) * (width + 4 + self.targets)

    def _room(self, folds: int) -> int:
        return -(-self.size // folds)

    def start(self, layout: Layout) -> State:
        """Return empty places, marked by a hash of infinity."""
        import torch

        from nodelens.statistics.quantities import width_of
        from nodelens.statistics.rows import zeros

        room = self._room(layout.folds)
        state = {
            "hash": zeros(layout, room).fill_(torch.inf),
            "fold": zeros(layout, room),
            "index": zeros(layout, room),
            "position": zeros(layout, room),
            "values": zeros(layout, room, width_of(layout, self.of)),
        }
        return state | ({"targets": zeros(layout, room)} if self.targets else {})

    def update(self, state: State, reading: Reading) -> None:
        """Keep the samples with the smallest hashes of the state and the reading."""
        hashes = self._hashes(reading)
        flat = hashes.flatten()
        chosen = flat.topk(min(len(flat), self.size), largest=False).indices
        chosen = chosen[flat[chosen] < state["hash"].max()]
        row, position = chosen // hashes.shape[1], chosen % hashes.shape[1]
        self._keep(state, {"hash": flat[chosen], **self._found(reading, row, position)})

    def _hashes(self, reading: Reading) -> Tensor:
        """Return a hash per sample, ``(rows, samples)`` float64, infinite where none counts."""
        import torch

        from nodelens.statistics.quantities import counted_samples
        from nodelens.statistics.rows import row_counts
        from nodelens.statistics.sample_draws import row_keys, sample_keys

        if self.per == "row":
            keys, counted = row_keys(reading).unsqueeze(-1), row_counts(reading).unsqueeze(-1) > 0
        else:
            samples = reading.values.shape[1]
            keys = sample_keys(reading, samples)
            valid = counted_samples(reading, samples)
            counted = torch.ones_like(keys, dtype=torch.bool) if valid is None else valid
        return (keys >> (63 - _HASH_BITS)).double().masked_fill(~counted, torch.inf)

    def _found(self, reading: Reading, row: Tensor, position: Tensor) -> dict[str, Tensor]:
        """Return the fields of the samples at some places."""
        from nodelens.statistics.quantities import quantity_of, row_quantity

        assert reading.index is not None
        start = 0 if reading.start is None else reading.start[row]
        if self.per == "row":
            values = row_quantity(reading, self.of)[row]
        else:
            values = quantity_of(reading, self.of)[row, position].double()
        found = {
            "fold": reading.fold[row].double(),
            "index": reading.index[row].double(),
            "position": (start + position).double(),
            "values": values,
        }
        if self.targets:
            assert reading.targets is not None
            found["targets"] = reading.targets[row].double()
        return found

    def merge(self, state: State, other: State) -> None:
        device = state["hash"].device
        self._keep(state, {name: value.flatten(0, 1).to(device) for name, value in other.items()})

    def _keep(self, state: State, found: State) -> None:
        """Merge found samples into a state, keeping the smallest hashes, in place."""
        import torch

        every = {name: torch.cat([state[name].flatten(0, 1), found[name]]) for name in state}
        smallest = every["hash"].topk(self.size, largest=False).indices
        for name, value in every.items():
            state[name].flatten(0, 1)[: self.size] = value[smallest]

    def summary(self, state: State, keep: Tensor) -> ReservoirSummary:
        flat = {name: value.flatten(0, 1) for name, value in state.items()}
        order = flat["hash"].argsort()
        kept = keep.to(order.device)[flat["fold"][order].long()] & flat["hash"][order].isfinite()
        values, index, position = (
            flat[name][order[kept]] for name in ("values", "index", "position")
        )
        return ReservoirSummary(
            values, index, position, flat["targets"][order[kept]] if self.targets else None
        )
