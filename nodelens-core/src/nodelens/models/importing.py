"""Calls of a user's function for a model, with an error message for every failure."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nodelens.capture.losses import logits_of
from nodelens.errors import ModelError, did_you_mean
from nodelens.model_state import evaluating, own_randomness

if TYPE_CHECKING:
    from nodelens.interfaces.backend import ModelRequest


def build_module(path: str, arguments: Mapping[str, Any], request: ModelRequest) -> nn.Module:
    """Return the module that ``module:function`` returns, on the CPU, after a trial on zeros.

    Raises `ModelError` that names the path and the reason. The caller decides what may be imported.
    """
    with own_randomness(request.seed, "model", "weights"):
        function = imported_function(path)
        _check_arguments(path, function, arguments)
        try:
            module = function(**arguments)
        except Exception as error:  # the user's own code may raise anything
            raise ModelError(f"{path} raised {_named(error)}") from error
        if not isinstance(module, nn.Module):
            raise ModelError(f"{path} returned {type(module).__name__}, expected a torch.nn.Module")
        module = module.cpu()
        _check_fits(path, module, request)
    return module


def check_allowed(option: str, path: str, prefixes: Sequence[str]) -> None:
    """Raise `ModelError` unless the module of ``module:function`` is below an allowed prefix."""
    module = path.partition(":")[0]
    if not any(f"{module}.".startswith(f"{prefix.rstrip('.')}.") for prefix in prefixes):
        allowed = ", ".join(prefixes) or "none"
        raise ModelError(
            f"{option} {path!r} runs code of module {module!r}, which is not allowed "
            f"(allowed: {allowed}); pass --allow-import {module} if you trust it"
        )


def imported_function(path: str) -> Any:
    """Import and return the function ``module:function``; raises `ModelError` with the reason."""
    name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ModelError(f"importing {name!r} raised {_named(error)}; install it") from error
        raise ModelError(
            f"there is no module {name!r} to import; install it or add its folder to PYTHONPATH "
            f"(started in {Path.cwd()})"
        ) from error
    except Exception as error:  # the user's own code may raise anything
        raise ModelError(f"importing {name!r} raised {_named(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        public = [key for key, item in vars(module).items() if callable(item) and key[0] != "_"]
        raise ModelError(f"{name!r} has no function {attribute!r}{did_you_mean(attribute, public)}")
    return function


def _check_arguments(path: str, function: Any, arguments: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in callables have no signature
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ModelError(
            f"model.arguments do not fit {path}{signature}: {error}; given: "
            f"{', '.join(arguments) or 'none'}"
        ) from error


def _check_fits(path: str, module: nn.Module, request: ModelRequest) -> None:
    """Run two samples of zeros; raise `ModelError` unless the output is one logit per class."""
    zeros = torch.zeros(2, *request.input_shape, dtype=torch.float32)
    try:
        with evaluating(module):
            output = module(zeros)
    except Exception as error:  # the user's own code may raise anything
        raise ModelError(
            f"the model of {path} does not run on samples of shape {request.input_shape}: "
            f"{_named(error)}"
        ) from error
    logits = logits_of(output)
    if logits.ndim != 2 or len(logits) != 2 or logits.shape[1] < request.classes:
        raise ModelError(
            f"the model of {path} turns two samples into logits of shape {tuple(logits.shape)}, "
            f"expected (2, {request.classes}), one per class of the data"
        )


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
