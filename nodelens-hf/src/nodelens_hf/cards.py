"""Model cards: pruning of a model, measured results, and the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

_HEAD = "---\nlibrary_name: transformers\ntags: [pruned, nodelens]\n---\n"


def model_card(facts: Mapping[str, Any]) -> str:
    """Return the card of a pruned model, Markdown with the hub's header.

    `facts` are the facts that a run passes to ``ModelHandle.save``; missing facts are left out.
    """
    return _HEAD + "\n" + "\n\n".join(_parts(facts)) + "\n"


def loading(kind: str, reason: str) -> str:
    """Return the part of a card that says how to load the model, a transformers class.

    `reason` says why plain ``from_pretrained`` fails; empty where it works.
    """
    module, call = (
        ("nodelens_hf", "load") if reason else ("transformers", f"{kind}.from_pretrained")
    )
    code = f"```python\nimport {module}\n\nmodel = {module}.{call}(FOLDER)\n```"
    return f"## Loading\n\n{code}" + (f"\n\nIn this way only: {reason}." if reason else "")


def _parts(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {facts.get('title', 'A pruned model')}"
    yield "\n".join(f"- {sentence}" for sentence in facts.get("findings", ()))
    if masked := facts.get("masked"):
        yield (
            "These nodes were masked when the model was measured and are not removed in this "
            f"folder, so that its figures are not those below: {', '.join(masked)}."
        )
    if method := facts.get("method"):
        yield "## Method\n\n" + _listed(method)
    if recovery := facts.get("recovery"):
        yield "## Recovery\n\nTrained after pruning, on samples outside the measurement.\n\n" + (
            _listed(recovery)
        )
    if measures := facts.get("measures"):
        yield "## Measured\n\n" + _table(facts["columns"], measures)
    if data := facts.get("data"):
        yield "## Data\n\n" + _listed(data)
    counts = [f"{facts[key]} {label}" for key, label in _COUNTS.items() if key in facts]
    if counts:
        yield f"{', '.join(counts)}."
    if warnings := facts.get("warnings"):
        yield "## Warnings\n\n" + "\n".join(f"- {each}" for each in warnings)


_COUNTS = {
    "calibration_samples": "samples scored the nodes",
    "test_samples": "other samples measured the result",
}


def _listed(values: Mapping[str, Any]) -> str:
    """Return options as a YAML block."""
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100)
    return f"```yaml\n{text}```"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
