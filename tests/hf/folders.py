"""Halved models of the suite as folders, and what a fresh process makes of them.

Run as a program with a folder of such folders, it loads each in both ways and prints what it found.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

import nodelens_hf
from nodelens.channels.infer import infer
from nodelens.removal.removal import remove
from nodelens_hf.hints import HINTS

CUTS = {
    "neurons": ("neurons", "channels"),
    "neurons of one layer": ("neurons", "channels"),
    "kv_groups": ("kv_groups", "heads"),
    "kv_groups of one layer": ("kv_groups", "heads"),
}
"""What is halved: all groups, or the last one, of the first kind that a model has."""
MULTIPLE = {"mixtral": 4}
"""What the number of neurons must be a multiple of: the product of all experts wants it."""


def chosen(graph, cut):
    """Return the groups that a cut halves."""
    for kind in CUTS[cut]:
        found = [group for group in graph if group.prunable and group.kind == kind]
        if found:
            return found[-1:] if cut.endswith("one layer") else found
    return []


def halved(group, multiple):
    """Return every other node, rounded down to a multiple where there are enough."""
    kept = list(range(0, group.width, 2))
    return kept[: len(kept) // multiple * multiple] or kept


def write(name, cut, built, folder):
    """Halve a model of the suite and save it with its outputs; return what was done.

    The kind of groups is None for a model without such groups; nothing is written then.
    """
    model, inputs = built
    if getattr(model.config, "use_cache", None):
        model.config.use_cache = False
    graph = infer(model, **inputs)
    groups = chosen(graph, cut)
    facts = {"name": name, "cut": cut, "kind": groups[0].kind if groups else None}
    if not groups:
        return facts
    keep = {group.name: halved(group, MULTIPLE.get(name, 1)) for group in groups}
    before = outputs(model, inputs)
    removal = remove(model, graph, keep, hints=HINTS, **inputs)
    expected = outputs(model, inputs)
    loader = nodelens_hf.save(model, folder, card="# A model")
    save_file({"expected": expected, **inputs}, folder / "outputs.safetensors")
    facts |= {
        "auto": _auto(model, inputs),
        "parameters": list(removal.parameters),
        "exact": {verdict.status for verdict in removal.verdicts} == {"exact"},
        "changed": not torch.equal(before, expected),
        "loader": loader,
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    return facts


def _auto(model, inputs):
    if "pixel_values" in inputs:
        return "AutoModelForImageClassification"
    if "decoder_input_ids" in inputs:
        return "AutoModelForSeq2SeqLM"
    masked = "MaskedLM" in type(model).__name__
    return "AutoModelForMaskedLM" if masked else "AutoModelForCausalLM"


@torch.no_grad()
def outputs(model, inputs):
    """Return the logits."""
    return model(**inputs).logits


def read(root):
    """Load every folder in one process of its own.

    Returns, by folder and loader, the largest difference of the outputs, or the error.
    """
    command = [sys.executable, __file__, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _compared(load, folder):
    stored = load_file(folder / "outputs.safetensors")
    expected = stored.pop("expected")
    try:
        found = outputs(load(folder).train(False), stored)
    except (OSError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return 0.0 if torch.equal(found, expected) else float((found - expected).abs().max())


def _all(root):
    found = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        auto = getattr(transformers, json.loads((folder / "facts.json").read_text())["auto"])
        found[folder.name] = {
            "nodelens_hf": _compared(nodelens_hf.load, folder),
            "transformers": _compared(auto.from_pretrained, folder),
        }
    return found


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    print(json.dumps(_all(Path(sys.argv[1]))))
