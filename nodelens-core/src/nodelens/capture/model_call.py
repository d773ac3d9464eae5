"""Calls of a model on a batch, whose errors name the batch, its shapes and the likely reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nodelens.errors import ModelError, NodelensError

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch


def called(model: nn.Module, batch: Batch) -> Any:
    """Run the model on a batch.

    Raises `ModelError` for an error inside the model, with the batch and the likely reason.
    """
    try:
        return model(*batch.args, **batch.kwargs)
    except (NodelensError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the user's own code may raise anything
        text = (str(error).strip().splitlines() or ["no message"])[0]
        raise ModelError(
            f"the model does not run on {described(batch)}: {type(error).__name__}: {text}"
            + _reason(model, batch, error)
        ) from error


def described(batch: Batch) -> str:
    """Return the number of a batch and the shapes of its tensors in words."""
    shapes = [f"{tuple(each.shape)}" for each in batch.args if isinstance(each, Tensor)]
    shapes += [f"{k} {tuple(v.shape)}" for k, v in batch.kwargs.items() if isinstance(v, Tensor)]
    name = f"batch {batch.number}" if batch.number else "a batch"
    return f"{name} ({', '.join(shapes)})"


def _reason(model: nn.Module, batch: Batch, error: Exception) -> str:
    """Return the likely reason of an error: a table of tokens or positions that is too short."""
    if not isinstance(error, IndexError):
        return ""
    with _last_lookup(model) as seen, torch.no_grad():
        try:
            model(*batch.args, **batch.kwargs)
        except Exception:  # noqa: BLE001 - the error is known, its last table is asked for
            seen = seen[-1:]
    if not seen:
        return ""
    (path, rows, ids), least = seen[-1], int(seen[-1][2].min())
    wrong = int(ids.max()) if int(ids.max()) >= rows else least
    if 0 <= wrong < rows:
        return ""
    return f"; {path} has {rows} rows and was asked for row {wrong}: {_meaning(batch, ids)}"


def _meaning(batch: Batch, ids: Tensor) -> str:
    values = (*batch.args, *batch.kwargs.values())
    given = [each for each in values if isinstance(each, Tensor) and each.shape == ids.shape]
    if any(torch.equal(each, ids) for each in given):
        return "the data hold an id beyond the vocabulary; use the tokenizer of the model"
    return "rows have more positions than the model has; give shorter rows"


@contextmanager
def _last_lookup(model: nn.Module) -> Iterator[list[tuple[str, int, Tensor]]]:
    """Give the lookups in tables while the context is open: path, rows and ids of each."""
    seen: list[tuple[str, int, Tensor]] = []

    def note(path: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor) and args[0].numel():
                seen.append((path, module.num_embeddings, args[0].detach()))

        return hook

    tables = [each for each in model.named_modules() if isinstance(each[1], nn.Embedding)]
    handles = [module.register_forward_pre_hook(note(path)) for path, module in tables]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
