"""A registry of small made-up components, so that configs can be checked without any plugin."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import field, frozen, validators

from nodelens.config.load import read_config
from nodelens.errors import PluginError, UnknownNameError, did_you_mean
from nodelens.interfaces.metric import MetricInfo


@frozen
class Net:
    """A small network.

    Attributes:
        channels: widths of the layers,
            first to last.
    """

    channels: tuple[int, ...] = field(
        default=(16, 32),
        validator=validators.deep_iterable(validators.gt(0), validators.min_len(1)),
    )
    activation: Literal["relu", "gelu"] = "relu"


@frozen
class Plain:
    """A component without options."""

    info = MetricInfo(formula="x", unit="1", higher_is_better=True)
    statistics = ("values",)


@frozen
class Digits:
    """Made-up digits."""

    noise: float = field(default=0.0, validator=[validators.ge(0.0), validators.le(1.0)])


@frozen
class Files:
    """Samples in files."""

    path: Path
    columns: tuple[str, int] | None = None
    names: dict[str, int] = field(factory=dict)


@frozen
class Redundancy:
    """How well the others explain a node."""

    top: int | None = field(default=10, validator=validators.optional(validators.ge(1)))
    scale: float = 1.0
    centred: bool = True


@frozen
class Ablation:
    """Curves of loss against removed nodes."""

    fractions: tuple[float, ...] = field(
        default=(0.1, 0.3),
        validator=validators.deep_iterable((validators.gt(0.0), validators.lt(1.0))),
    )

    @fractions.validator
    def _rising(self, attribute: Any, value: tuple[float, ...]) -> None:
        if list(value) != sorted(value):
            raise ValueError(f"fractions must rise, got {value}")


@frozen
class Budget:
    """What may stay."""

    nodes: int = field(default=1, validator=validators.ge(1))


@frozen
class Taylor:
    """A pruning method."""

    sparsity: float = field(default=0.5, validator=(validators.ge(0.0), validators.lt(1.0)))
    budget: Budget | None = None

    def metrics(self):
        return ()


COMPONENTS: dict[str, dict[str, type]] = {
    "backend": {"cnn": Net, "mlp": Plain},
    "dataset": {"digits": Digits, "files": Files},
    "metric": {"rms": Plain, "redundancy": Redundancy, "taylor": Plain},
    "loss": {"mse": Plain, "logit": Budget},
    "analysis": {"agreement": Plain, "clusters": Plain},
    "evaluation": {"perplexity": Plain},
    "intervention": {"ablation": Ablation},
    "pruner": {"taylor": Taylor, "broken": int},
    "recovery": {"fine_tune": Plain},
    "report": {"html": Plain, "json": Plain},
}


class FakeRegistry:
    """Answers as the plugin registry does."""

    def names(self, kind: str) -> list[str]:
        return sorted(COMPONENTS[kind])

    def matching(self, kind: str, pattern: str) -> list[str]:
        found = [name for name in self.names(kind) if fnmatchcase(name, pattern)]
        if not found:
            raise UnknownNameError(f"no {kind} matches {pattern!r}")
        return found

    def own_name(self, kind: str, name: str, asker: object) -> str:
        return name

    def unloaded(self, kind: str, name: str) -> str:
        return f"; not loaded: gone, which may offer the {kind} {name!r}"

    def component(self, kind: str, name: str) -> type:
        if name == "absent":
            raise PluginError(
                f"the {kind} 'absent' belongs to the plugin gone, which failed to load"
            )
        if name.removeprefix("made-up:") not in COMPONENTS[kind]:
            raise UnknownNameError(f"unknown {kind} {name!r}{did_you_mean(name, self.names(kind))}")
        return COMPONENTS[kind][name.removeprefix("made-up:")]


@pytest.fixture(scope="session")
def registry():
    return FakeRegistry()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, so that messages show short paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder):
    """Write a file and return its relative path."""

    def _write(text, name="run.yaml"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


@pytest.fixture
def read(write):
    """Read a config from its text."""

    def _read(text, *overrides):
        return read_config(write(text), overrides)

    return _read
