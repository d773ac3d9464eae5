"""States in files: written place by place, read at the first access of a place."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from nodelens.capture.checkpoint.specification import spec_of, statistic_of
from nodelens.config.stored_values import restored_text
from nodelens.errors import RunError
from nodelens.storage.tensor_files import (
    TensorSource,
    read_metadata,
    read_tensors,
    source_in,
    source_of,
    write_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import State

FORMAT = "nodelens states 1"
StateMap = Mapping[str, Mapping[Any, "State"]]
"""States by place and statistic."""


@frozen
class Slot:
    """The place of one state: a file, the names of the tensors, and their devices."""

    file: Path
    key: str
    devices: Mapping[str, str]

    def load(self) -> State:
        """Return the state on its former devices; raises `RunError`."""
        names = list(self.devices)
        tensors = read_tensors(self.file, [f"{self.key}/{name}" for name in names])
        return {n: tensor.to(self.devices[n]) for n, tensor in zip(names, tensors, strict=True)}


@define(eq=False)
class StoredStates(Mapping[str, Mapping[Any, "State"]]):
    """States in files, beside those in `memory`; each is read at its access.

    The states read last are kept, up to `limit` bytes (None: all), so that the metrics of one
    group, and the folds of one metric, read a state once. Returned states must not be changed.
    """

    memory: StateMap = field(factory=dict)
    limit: int | None = None
    slots: dict[str, dict[Any, Slot]] = field(factory=dict)
    _read: OrderedDict[tuple[str, Any], State] = field(init=False, factory=OrderedDict)

    @property
    def files(self) -> list[Path]:
        """The files that hold states."""
        slots = (slot for found in self.slots.values() for slot in found.values())
        return list(dict.fromkeys(slot.file for slot in slots))

    @property
    def held(self) -> list[Tensor]:
        """The tensors of all states that are in memory."""
        places = (state for place in self.memory.values() for state in place.values())
        return [tensor for state in (*places, *self._read.values()) for tensor in state.values()]

    def add(self, slots: Mapping[str, Mapping[Any, Slot]]) -> None:
        """Add the states of a file."""
        for place, found in slots.items():
            self.slots.setdefault(place, {}).update(found)

    def __getitem__(self, place: str) -> Mapping[Any, State]:
        return _Place(self, place) if place in self.slots else self.memory[place]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.slots, *self.memory]))

    def __len__(self) -> int:
        return len({*self.slots, *self.memory})

    def state(self, place: str, statistic: Any) -> State:
        """Return a state from its file; raises `KeyError` where there is none."""
        slot = self.slots[place][statistic]
        key = (place, statistic)
        if key not in self._read:
            found = slot.load()
            while self._read and self.limit is not None and self._size(found) > self.limit:
                self._read.popitem(last=False)
            self._read[key] = found
        self._read.move_to_end(key)
        return self._read[key]

    def _size(self, more: State) -> int:
        several = (*self._read.values(), more)
        return sum(tensor.nbytes for state in several for tensor in state.values())


@frozen(eq=False)
class _Place(Mapping[Any, "State"]):
    """The states of one place, in files or in memory."""

    of: StoredStates
    name: str

    def __getitem__(self, statistic: Any) -> State:
        if statistic in self.of.slots[self.name]:
            return self.of.state(self.name, statistic)
        return self._memory[statistic]

    def __contains__(self, statistic: object) -> bool:
        return statistic in self.of.slots[self.name] or statistic in self._memory

    def __iter__(self) -> Iterator[Any]:
        return iter(dict.fromkeys([*self._memory, *self.of.slots[self.name]]))

    def __len__(self) -> int:
        return len({*self._memory, *self.of.slots[self.name]})

    @property
    def _memory(self) -> Mapping[Any, State]:
        return self.of.memory.get(self.name, {})


def write_states(
    path: Path,
    states: StateMap,
    others: Mapping[str, Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write states and some other tensors to one safetensors file, atomically.

    A tensor's name is ``place/statistic/field``; the metadata hold the statistics with their
    options. States in files are copied one tensor at a time.
    """
    sources = {name: source_of(tensor) for name, tensor in others.items()}
    index: dict[str, list[dict[str, Any]]] = {}
    stored = states.slots if isinstance(states, StoredStates) else {}
    memory = states.memory if isinstance(states, StoredStates) else states
    for place in states:
        keys = _Keys(place)
        parts = [
            *(_copied(s, slot, keys, sources) for s, slot in stored.get(place, {}).items()),
            *(_added(s, state, keys, sources) for s, state in memory.get(place, {}).items()),
        ]
        index[place] = parts
    meta = {**metadata, "format": FORMAT, "places": json.dumps(index)}
    write_tensors(path, sources, meta)


@define
class _Keys:
    """Unique names for the states of one place."""

    place: str
    taken: set[str] = field(factory=set)

    def new(self, statistic: Any) -> str:
        name, number = str(statistic), 1
        while name in self.taken:
            number += 1
            name = f"{statistic} #{number}"
        self.taken.add(name)
        return f"{self.place}/{name}"


def _added(
    statistic: Any,
    state: State,
    keys: _Keys,
    sources: dict[str, TensorSource],
) -> dict[str, Any]:
    key = keys.new(statistic)
    sources.update({f"{key}/{name}": source_of(tensor) for name, tensor in state.items()})
    return _entry(key, statistic, {name: str(tensor.device) for name, tensor in state.items()})


def _copied(
    statistic: Any,
    slot: Slot,
    keys: _Keys,
    sources: dict[str, TensorSource],
) -> dict[str, Any]:
    key = keys.new(statistic)
    for name in slot.devices:
        sources[f"{key}/{name}"] = source_in(slot.file, f"{slot.key}/{name}")
    return _entry(key, statistic, slot.devices)


def _entry(
    key: str,
    statistic: Any,
    devices: Mapping[str, str],
) -> dict[str, Any]:
    return {"key": key, "statistic": spec_of(statistic), "devices": dict(devices)}


@frozen
class SlotRecord:
    """The key of a state in a file, its statistic as `spec_of` gives it, and its devices."""

    key: str
    statistic: dict[str, Any]  # Any: JSON values
    devices: dict[str, str]


def read_slots(path: Path, device: str = "") -> dict[str, dict[Any, Slot]]:
    """Return the slots of the states in a file, by place and statistic.

    Statistics whose classes are not imported are left out. With `device`, all states are loaded
    there, else to their former devices. Raises `RunError` for any other file.
    """
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise RunError(f"{path}: not a file of statistics that this version reads")
    places = restored_text(dict[str, list[SlotRecord]], metadata.get("places"), str(path))
    return {place: dict(_slots(path, entries, device)) for place, entries in places.items()}


def slots_of(path: Path, states: StateMap) -> dict[str, dict[Any, Slot]]:
    """Return the slots of states that were just written to a file, by the statistics in memory."""
    found: dict[str, dict[Any, Slot]] = {}
    for place, several in states.items():
        keys = _Keys(place)
        found[place] = {
            s: Slot(path, keys.new(s), {name: str(tensor.device) for name, tensor in state.items()})
            for s, state in several.items()
        }
    return found


def _slots(path: Path, entries: list[SlotRecord], device: str) -> Iterator[tuple[Any, Slot]]:
    for entry in entries:
        statistic = statistic_of(entry.statistic)
        if statistic is not None:
            devices = {name: device or there for name, there in entry.devices.items()}
            yield statistic, Slot(path, entry.key, devices)
