"""Models that write themselves: what one writes after a removal loads right, or says what loads it.

The models of transformers are rebuilt from a configuration, which may take other sizes than those
that are left, or compute other constants from these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from torch import nn

from nodelens.errors import ModelError

if TYPE_CHECKING:
    from nodelens.removal.journal import Journal

# The entry of a configuration that names the file of the weights; what is no such file is refused.
WEIGHTS = "transformers_weights"
SENTENCE = (
    "nodes were removed from this model, which its configuration may not state: write it with "
    "nodelens_hf.save(model, folder) and load it with nodelens_hf.load(folder)"
)


@frozen(eq=False)
class OwnSaving:
    """The `save_pretrained` of a model that has lost nodes: the folder says what loads it."""

    model: nn.Module

    def __call__(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> Any:
        """Write the model as its class does, and `SENTENCE` in place of the file of the weights."""
        check_config(self.model)
        written = self.unmarked(save_directory, *args, **kwargs)
        mark_folder(Path(save_directory), SENTENCE)
        return written

    def unmarked(self, *args: Any, **kwargs: Any) -> Any:
        """Write the model as its class does, for one whose configuration states everything."""
        own: Any = type(self.model)
        return own.save_pretrained(self.model, *args, **kwargs)


def check_config(model: nn.Module) -> None:
    """Raise `ModelError` for a model with widths that the class of its configuration refuses."""
    config: Any = getattr(model, "config", None)
    try:
        getattr(config, "validate", lambda: None)()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise ModelError(
            f"{type(model).__name__} cannot be saved with the widths that are left, which "
            f"{type(config).__name__} refuses ({reason}); remove others, or save its state_dict"
        ) from error


def mark_folder(folder: Path, sentence: str) -> None:
    """Let plain loading of a folder fail with a sentence."""
    file = folder / "config.json"
    if file.is_file():
        config = json.loads(file.read_text(encoding="utf-8"))
        text = json.dumps({**config, WEIGHTS: sentence}, indent=2, sort_keys=True)
        file.write_text(f"{text}\n", encoding="utf-8")


def mark_saving(model: nn.Module, changed: Iterable[str], journal: Journal) -> None:
    """Let the parts of a model that write themselves, and hold `changed` tensors, say so."""
    names = list(changed)
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        config = getattr(module, "config", None)
        rebuilt = hasattr(module, "save_pretrained") and hasattr(config, "model_type")
        if rebuilt and any(name.startswith(prefix) for name in names):
            saving = OwnSaving(module)
            journal.add_item(vars(module), "save_pretrained", saving)
