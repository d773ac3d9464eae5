"""Pruned transformers models as folders that load without the original weights."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from nodelens.config.stored_values import from_stored, to_stored
from nodelens.errors import ModelError, RunError
from nodelens.removal.journal import Journal
from nodelens.removal.own_saving import SENTENCE, WEIGHTS, check_config, mark_folder, mark_saving
from nodelens.storage.atomic import write_text
from nodelens.storage.strict_json import from_text, to_text
from nodelens_hf.cards import loading
from nodelens_hf.config_widths import candidates
from nodelens_hf.empty_model import Difference, apply, difference, empty_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

SHAPE_FILE = "nodelens.json"
WEIGHTS_FILE = "nodelens.safetensors"
_BUFFER = "computed buffer "
_FORMAT = 2

SavedFormat = Literal["transformers", "nodelens_hf"]


@frozen
class SavedChanges:
    """What turns a model of the configuration into the saved one; see `Difference`.

    `tied` gives the names of tensors that are stored under another name; `note` says how to load.
    """

    model_class: str
    attributes: dict[str, dict[str, Any]]  # Any: values of each module's own
    shapes: dict[str, tuple[int, ...]]
    configs: dict[str, dict[str, Any]]  # Any: fields of configurations
    tied: dict[str, str]
    note: str


def save(
    model: PreTrainedModel,
    folder: str | Path,
    *,
    tokenizer: Any = None,
    card: str = "",
) -> SavedFormat:
    """Write a pruned model to a new folder that loads without the original weights.

    Weights are safetensors, tied ones are written once. The folder appears whole or not at all.

    Args:
        model: the pruned model; left unchanged.
        folder: a folder that does not exist.
        tokenizer: a tokenizer of transformers to save beside the model; None saves none.
        card: text of the model card; instructions for loading are added.

    Returns:
        ``transformers`` if the configuration states all widths: plain ``from_pretrained`` loads
        the folder. Else ``nodelens_hf``: `load` reads a description of every changed width.

    Raises:
        RunError: if the folder exists or cannot be written.
        ModelError: for widths that the class of the configuration refuses.

    Example:
        ::

            save(model, "pruned", tokenizer=tokenizer) model = load("pruned")
    """
    target = Path(folder)
    if target.exists():
        raise RunError(f"{target} exists already; choose another folder or remove it")
    check_config(model)
    changes = _against_own_config(model)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.parent / f".{target.name}-{secrets.token_hex(8)}"
        part.mkdir()
        try:
            _write(model, part, changes, tokenizer, card)
            part.replace(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise RunError(f"{target}: cannot be written: {error.strerror}") from error
    return "nodelens_hf" if changes else "transformers"


def _against_own_config(model: PreTrainedModel) -> Difference:
    """Return the differences from the model's configuration, which gets all widths it can state."""
    changes = difference(empty_model(type(model), model.config), model)
    for candidate in candidates(model, changes) if changes else ():
        try:
            built = empty_model(type(model), candidate.config)
        except (
            AttributeError,
            RuntimeError,
            ValueError,
        ):  # the class cannot be built from the configuration
            continue
        remaining = difference(built, model, candidate.fields)
        if not remaining:
            model.config = candidate.config
            return remaining
    return changes


def _write(
    model: PreTrainedModel,
    folder: Path,
    changes: Difference,
    tokenizer: Any,
    card: str,
) -> None:
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder))
    if card:
        text = f"{card.rstrip()}\n\n{loading(type(model).__name__, _reason(model, changes))}\n"
        (folder / "README.md").write_text(text, encoding="utf-8")
    if not changes:
        plain = getattr(model.save_pretrained, "unmarked", model.save_pretrained)
        plain(str(folder))
        return
    model.config.save_pretrained(str(folder))
    mark_folder(folder, _note(model, changes))
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(str(folder))
    _write_described(model, folder, changes)


def _note(model: PreTrainedModel, changes: Difference) -> str:
    return f"load with nodelens_hf.load(folder): {_reason(model, changes)}"


def _reason(model: PreTrainedModel, changes: Difference) -> str:
    """Return in words why the configuration is not enough; empty where it is."""
    if not changes:
        return ""
    return f"the configuration of {model.config.model_type} cannot say that {changes.first()}"


def _write_described(model: PreTrainedModel, folder: Path, changes: Difference) -> None:
    """Write the weights under the model's own names, each tensor once, and the differences."""
    from safetensors.torch import save_file

    names: dict[int, str] = {}
    tied: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        first = names.setdefault(id(tensor), name)
        if first == name:
            tensors[name] = tensor.detach().cpu().contiguous()
        else:
            tied[name] = first
    buffers = {_BUFFER + name: each.cpu().contiguous() for name, each in changes.buffers.items()}
    save_file({**tensors, **buffers}, folder / WEIGHTS_FILE, {"format": "pt"})
    described = SavedChanges(
        model_class=type(model).__name__,
        attributes=changes.attributes,
        shapes={name: tuple(shape) for name, shape in changes.shapes.items()},
        configs=changes.configs,
        tied=tied,
        note=_note(model, changes),
    )
    write_text(folder / SHAPE_FILE, to_text(to_stored(described, _FORMAT), SHAPE_FILE))


def load(folder: str | Path) -> PreTrainedModel:
    """Load a folder that `save` wrote, or any folder of ``save_pretrained``, in evaluation mode.

    Needs no other weights and runs no code of the folder.

    Args:
        folder: the folder.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        ModelError: for any other folder.

    Example:
        ::

            model = load("outputs/digits/pruned/taylor/model")
    """
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise ModelError(f"{path}: no config.json there; give a folder of save_pretrained")
    described = _description(path)
    kind, config = _kind_and_config(path, described)
    sentence = vars(config).pop(WEIGHTS, None)
    if described is None and sentence == SENTENCE:
        raise ModelError(f"{path}: written by save_pretrained; {SENTENCE}")
    if described is None:
        model = kind.from_pretrained(
            str(path), local_files_only=True, use_safetensors=True, dtype="auto"
        )
        return _evaluating(model)
    return _evaluating(_rebuilt(kind, config, path, described))


def _evaluating(model: PreTrainedModel) -> PreTrainedModel:
    model.train(False)
    return model


def _description(path: Path) -> SavedChanges | None:
    file = path / SHAPE_FILE
    if not file.is_file():
        return None
    try:
        values = from_text(file.read_text(encoding="utf-8"), str(file))
        return from_stored(SavedChanges, values, str(file), _FORMAT, "pruned model")
    except UnicodeDecodeError as error:
        raise ModelError(f"{file}: not UTF-8 text") from error
    except RunError as error:
        raise ModelError(str(error)) from error


def _kind_and_config(
    path: Path, described: SavedChanges | None
) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    import transformers

    config = transformers.AutoConfig.from_pretrained(
        str(path), local_files_only=True, trust_remote_code=False
    )
    names = [described.model_class] if described else list(config.architectures or [])
    kind = getattr(transformers, names[0], None) if names else None
    if kind is None:
        raise ModelError(f"{path}: transformers has no class {names[0] if names else '(unnamed)'}")
    return kind, config


def _rebuilt(
    kind: type[PreTrainedModel],
    config: PretrainedConfig,
    path: Path,
    described: SavedChanges,
) -> PreTrainedModel:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import GenerationConfig

    model = empty_model(kind, config)
    try:  # copies have the alignment of fresh tensors: some kernels choose their summation by it
        state = {name: each.clone() for name, each in load_file(path / WEIGHTS_FILE).items()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path / WEIGHTS_FILE}: {error}") from error
    buffers = {
        name.removeprefix(_BUFFER): state.pop(name) for name in list(state) if _BUFFER in name
    }
    shapes = {name: list(shape) for name, shape in described.shapes.items()}
    apply(model, Difference(described.attributes, shapes, buffers, described.configs))
    _assign(model, state, described.tied)
    mark_saving(model, state, Journal())
    if (path / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(str(path))
    return model


def _assign(model: PreTrainedModel, state: dict[str, Tensor], tied: Mapping[str, str]) -> None:
    """Give every name of the model its tensor; tied names share one parameter."""
    from torch import nn

    expected = model.state_dict().keys()
    if strange := sorted(expected ^ (state.keys() | tied.keys())):
        raise ModelError(f"the weights do not belong to the configuration: {strange[0]}")
    shared = {name: nn.Parameter(state[name]) for name in tied.values()}
    for name in expected:
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        known = shared.get(tied.get(name, name))
        if known is not None:
            setattr(module, leaf, known)
        elif isinstance(getattr(module, leaf), nn.Parameter):
            setattr(
                module,
                leaf,
                nn.Parameter(state[name], requires_grad=state[name].is_floating_point()),
            )
        else:
            setattr(module, leaf, state[name])
