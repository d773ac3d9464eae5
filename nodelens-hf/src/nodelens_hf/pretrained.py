"""Pretrained models, from a folder or from the hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve

from nodelens.data.file_faults import FAULTS
from nodelens.errors import ModelError
from nodelens_hf.class_labels import names_of, output_names, unknown_classes, unnamed
from nodelens_hf.handles import handle_of
from nodelens_hf.hub import hub_or_cache
from nodelens_hf.progress_bars import without_bars
from nodelens_hf.tasks import TASKS, auto_class
from nodelens_hf.weight_files import check_files, check_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from nodelens.interfaces.backend import ModelHandle, ModelRequest
    from nodelens_hf.backend import HuggingFace

log = logging.getLogger("nodelens")
ADVICE = "a hub id needs a network or the hub's cache, a folder must exist"
_UNREADABLE = (OSError, ValueError, KeyError, ImportError, RuntimeError, UnpicklingError)
"""Errors of transformers for a model that it cannot read."""
_GGUF_PACKAGES = ("gguf", "accelerate")
_MARKS = ("hf_quantizer", "is_quantized", "quantization_method")


def load_pretrained(backend: HuggingFace, request: ModelRequest) -> ModelHandle:
    """Load the weights of a backend; raises `ModelError` in one line for every mistake."""
    from safetensors import SafetensorError

    source = str(backend.pretrained)
    folder = Path(source).expanduser()
    if folder.is_dir():
        _check_folder(folder, backend)
        source = str(folder)
    elif backend.gguf_file is not None or source.startswith((".", "/", "~")):
        raise ModelError(f"{source}: there is no such folder")
    trusted = request.trust_remote_code
    options = {**_options(backend, folder), "trust_remote_code": trusted}
    try:
        reach = nullcontext() if folder.is_dir() else hub_or_cache(source)
        with reach, without_bars(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(request.seed)
            options |= _wider_head(backend, request, source, options)
            auto = auto_class(backend.task)
            model, loaded = auto.from_pretrained(source, output_loading_info=True, **options)
    except Exception as error:
        faults = _UNREADABLE if backend.gguf_file is None else FAULTS
        if not (trusted or isinstance(error, (*faults, SafetensorError))):
            raise  # the code of a model may raise anything, ours and transformers' may not
        if backend.gguf_file is not None:
            raise ModelError(_gguf_reason(folder / backend.gguf_file, error)) from error
        if "ignore_mismatched_sizes" in str(error):
            raise ModelError(_narrow_head(backend, request, source, options)) from error
        raise ModelError(_reason(source, error, folder.is_dir())) from error
    check_weights(source, backend.task, model, loaded)
    if backend.gguf_file is not None:
        _unmark(model)
    handle = handle_of(model, f"{type(model).__name__} from {source}", backend, pretrained=True)
    missing = sorted(loaded["missing_keys"])
    classes = output_names(backend, request, model, missing)
    notes = dict(_notes(backend, folder, missing))
    return evolve(handle, notes={**handle.notes, **notes}, classes=classes)


def _wider_head(
    backend: HuggingFace, request: ModelRequest, source: str, options: dict[str, Any]
) -> dict[str, int]:
    """Return the number of labels, if the data have more classes than the head of the model."""
    if not TASKS[backend.task].labels or backend.gguf_file is not None:
        return {}
    outputs = len(names_of(_config(source, options)))
    return {"num_labels": request.classes} if outputs < request.classes else {}


def _config(source: str, options: dict[str, Any]) -> PretrainedConfig:
    from transformers import AutoConfig

    asked = ("trust_remote_code", "local_files_only", "revision")
    found: PretrainedConfig = AutoConfig.from_pretrained(
        source, **{name: options[name] for name in asked if name in options}
    )
    return found


def _narrow_head(
    backend: HuggingFace, request: ModelRequest, source: str, options: dict[str, Any]
) -> str:
    """Return why weights of other sizes do not fit: usually a head for fewer classes."""
    names = names_of(_config(source, options)) if TASKS[backend.task].labels else ()
    if backend.labels is None and request.class_names and names and not unnamed(names):
        return unknown_classes(source, request.class_names, names)
    return (
        f"{source}: its weights have other sizes than the model needs; a head for fewer "
        "classes than the data have does not fit"
    )


def _notes(backend: HuggingFace, folder: Path, missing: list[str]) -> Iterator[tuple[str, str]]:
    """Yield notes on the weights, and warn of missing ones."""
    if folder.is_dir() and backend.allow_pickle and not list(folder.glob("*.safetensors")):
        yield "weights", "pickled"
    if missing:
        yield "new_weights", ", ".join(missing)
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if missing[3:] else "")
        log.warning(
            "%s has no weights for %s: they are random until they are trained",
            backend.pretrained,
            shown,
        )


def _unmark(model: PreTrainedModel) -> None:
    """Remove the marks of a quantized model: the loaded weights of a GGUF file are plain.

    Marked models cannot be saved.
    """
    for owner, names in ((model, _MARKS), (model.config, ("quantization_config",))):
        for name in names:
            if name in vars(owner):
                delattr(owner, name)


def _options(backend: HuggingFace, folder: Path) -> dict[str, Any]:
    options: dict[str, Any] = {
        "dtype": backend.dtype,
        "local_files_only": folder.is_dir(),
    }
    if backend.gguf_file is None and not backend.allow_pickle:
        options["use_safetensors"] = True
    chosen = {
        "attn_implementation": None if backend.attention == "auto" else backend.attention,
        "gguf_file": backend.gguf_file,
        "revision": backend.revision,
        "device_map": backend.device_map,
    }
    return options | {name: value for name, value in chosen.items() if value is not None}


def _check_folder(folder: Path, backend: HuggingFace) -> None:
    """Raise `ModelError` unless the folder holds a model that can be read."""
    if backend.gguf_file is not None:
        if not (folder / backend.gguf_file).is_file():
            raise ModelError(f"{folder}: no file {backend.gguf_file} there")
        if missing := [name for name in _GGUF_PACKAGES if find_spec(name) is None]:
            raise ModelError(
                f"{folder / backend.gguf_file}: a GGUF file needs {' and '.join(missing)}: "
                "pip install nodelens-hf[gguf]"
            )
        return
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json there; give a folder of save_pretrained")
    if not list(folder.glob("*.safetensors")) and not backend.allow_pickle:
        raise ModelError(
            f"{folder}: no safetensors file there; pickled weights can run any code and are read "
            "with allow_pickle: true only"
        )
    check_files(folder)


def _gguf_reason(file: Path, error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{file}: damaged, or of a kind of GGUF that transformers does not read: {lines[0]}"


def _reason(source: str, error: Exception, local: bool) -> str:
    if isinstance(error, ValueError) and "trust_remote_code" in str(error):
        return (
            f"{source}: the model is Python code that comes with it, which is not run; read the "
            "code, and pass --trust-remote-code if you trust it (trust_remote_code=True from "
            "Python; a config cannot say so)"
        )
    if isinstance(error, UnpicklingError):
        return f"{source}: a pickled file there holds more than weights, and that is never read"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{source}: {lines[0]}" + ("" if local else f" ({ADVICE})")
