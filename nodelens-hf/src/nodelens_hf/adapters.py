"""Low-rank adapters on the layers of a model, attached for a while."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from nodelens.errors import ModelError
from nodelens.model_state import own_randomness

if TYPE_CHECKING:
    import torch

    from nodelens_hf.lora import LoRA

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv1D)
"""Exactly these classes: a subclass may use its weight in ways that an adapter misses."""

_SHOWN = 8
"""Number of layers named in the error for a pattern without a match."""


def check_installed() -> None:
    """Raise `ModelError` without peft."""
    if find_spec("peft") is None:
        raise ModelError(
            "recovery by lora needs peft, which is not installed: pip install 'nodelens-hf[lora]'; "
            "fine_tune needs nothing else"
        )


def find_targets(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return the names of the layers that get adapters.

    Raises `ModelError` for a pattern that matches no layer.
    """
    names = list(_adaptable(model))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            known = f"there are {', '.join(names[:_SHOWN])}" if names else "the model has none"
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise ModelError(
                "recovery by lora: no linear layer or convolution with a weight of its own is "
                f"called {pattern!r}; {known}{more}"
            )
    return [name for name in names if any(fnmatchcase(name, each) for each in patterns)]


def _adaptable(model: nn.Module) -> Iterator[str]:
    """Yield the layers that own their weight alone and multiply all inputs with it."""
    named = model.named_parameters(remove_duplicate=False)
    uses = Counter(id(parameter) for _, parameter in named)
    for name, module in model.named_modules():
        alone = type(module) in _LAYERS and uses[id(module.weight)] == 1
        if alone and getattr(module, "groups", 1) == 1:
            yield name


@contextmanager
def adapted(model: nn.Module, settings: LoRA, seed: int, device: torch.device) -> Iterator[None]:
    """Attach trainable adapters to the model, and add them to the weights in the end.

    Afterwards the model has its former layers; where the body raises, also their former weights.
    """
    wanted = {id(each): each.requires_grad for each in model.parameters()}
    tuner = _attached(model, settings, seed, device)
    try:
        yield
    except BaseException:
        tuner.unload()
        raise
    else:
        tuner.merge_and_unload()
    finally:
        for each in model.parameters():
            each.requires_grad_(wanted[id(each)])


def _attached(model: nn.Module, settings: LoRA, seed: int, device: torch.device) -> Any:
    """Return peft's tuner of the model; adapters are float32 or more precise."""
    from peft import LoraConfig, LoraModel

    names = find_targets(model, settings.targets)
    options: dict[str, Any] = {  # Any: peft annotates alpha as an int and takes any number
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": "|".join(re.escape(name) for name in names),
    }
    with own_randomness(seed, "recovery", "adapters", device=device), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # found by the layer's class
        tuner = LoraModel(model, LoraConfig(**options), "default")
    for each in model.parameters():
        if each.requires_grad and each.dtype.itemsize < 4:
            each.data = each.data.float()
    return tuner
