"""The contract of a model backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from nodelens.interfaces.loss import Loss
    from nodelens.removal.attribute_hints import AttributeHint


@frozen
class Permissions:
    """Foreign code that a run may execute, beside NodeLens and its plugins.

    The command line and the Python interface say so; a config cannot. `imports` are the prefixes of
    modules that a config may name; `remote_code` allows the code that comes with a model.
    """

    imports: tuple[str, ...] = ()
    remote_code: bool = False


@frozen
class ModelRequest:
    """The data that a model has to fit: the shape of one sample (no batch axis), classes, seed.

    `class_names` are the names of the classes, in the order of the data's numbers, where they are
    known. `allow_import` and `trust_remote_code` are what `Permissions` says.
    """

    input_shape: tuple[int, ...]
    classes: int
    seed: int
    allow_import: tuple[str, ...] = ()
    trust_remote_code: bool = False
    class_names: tuple[str, ...] = ()


@frozen(eq=False)
class ModelHandle:
    """A model on the CPU, ready to run, with its backend's knowledge of the model.

    `pretrained` is True when the weights come from outside: then training is not needed.
    `origin` says in words where the model comes from. `hints` say which integers of the model and
    its config count the nodes of which groups, for the removal of nodes. `placed` says that the
    model is where it must stay (spread over devices). `vocabulary` is the number of token ids that
    it takes, `positions` the most that a row may have, for models of text. `classes` are the names
    of its outputs, in their order, which then decide the numbers of the data's classes; None leaves
    these as they are. `save` writes a pruned copy of the module, and what is known of it (JSON
    values), to a new folder and returns the Python call that loads it; None where a pruned
    model has no form but its weights. `loss` is the model's own, of labels in the places of its
    outputs; None where it defines none.
    """

    module: nn.Module
    origin: str
    pretrained: bool = False
    notes: Mapping[str, str] = field(factory=dict)
    hints: tuple[AttributeHint, ...] = ()
    placed: bool = False
    vocabulary: int | None = None
    positions: int | None = None
    classes: tuple[str, ...] | None = None
    save: Callable[[nn.Module, Path, Mapping[str, Any]], str] | None = None
    loss: Loss | None = None


@runtime_checkable
class Backend(Protocol):
    """A source of models: a frozen attrs class whose fields are its options.

    A method that may be left out: ``check(dataset: object, evaluations: list[str]) -> None``
    raises an error for a dataset, or for evaluations by their names, before anything is read.

    Example:
        ::

            @frozen
            class Linear:
                def build(self, request):
                    with own_randomness(request.seed, "linear"):
                        layer = nn.Linear(math.prod(request.input_shape), request.classes)
                    return ModelHandle(nn.Sequential(nn.Flatten(), layer), origin="one layer")
    """

    def build(self, request: ModelRequest) -> ModelHandle:
        """Build the model; equal requests give equal weights.

        Args:
            request: the shape of one sample, the classes and the seed that the model has to fit.

        Returns:
            The model on the CPU, ready to run, with the backend's knowledge of the model.

        Raises:
            ModelError: where the model cannot be built, with what to do.
        """
