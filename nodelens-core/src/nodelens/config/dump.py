"""A resolved run as YAML that loads to an equal run."""

from __future__ import annotations

import re
from typing import Any

import yaml

from nodelens.config.plain_values import plain
from nodelens.config.schema import SECTIONS, Component, DataSettings, PluginSettings, RunConfig
from nodelens.config.yaml12 import SCALARS, TAG

ORDER = (
    *("name", "seed", "device", "threads", "output", "plugins"),
    *("model", "data", "loss", "target", "training", "capture"),
)
"""What comes first; the other sections follow in the order of `RunConfig`."""


class Dumper(yaml.SafeDumper):
    """PyYAML's writer, which also quotes text that YAML 1.2 would read as something else."""

    def ignore_aliases(self, data: object) -> bool:
        """Write equal lists twice instead of as anchor and alias."""
        return True


class KeyPerLine(dict[str, Any]):
    """A section, written with one key per line."""


def _represent_keys(dumper: yaml.SafeDumper, block: KeyPerLine) -> yaml.Node:
    return dumper.represent_mapping(TAG + "map", block.items(), flow_style=False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # PyYAML folds line breaks such as U+0085 away in every style but the double-quoted one.
    style = None if text.splitlines() in ([], [text]) else '"'
    return dumper.represent_scalar(TAG + "str", text, style=style)


for _name, _pattern in SCALARS:
    Dumper.add_implicit_resolver(TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)
Dumper.add_representer(KeyPerLine, _represent_keys)
Dumper.add_representer(str, _represent_text)


def to_yaml(config: RunConfig) -> str:
    """Return the run as YAML: defaults written out, components without options as bare names."""
    sections = to_mapping(config).items()
    blocks = {
        key: KeyPerLine(value) if isinstance(value, dict) else value for key, value in sections
    }
    text: str = yaml.dump(
        KeyPerLine(blocks),
        Dumper=Dumper,
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=100,
    )
    return text


def to_mapping(config: RunConfig) -> dict[str, Any]:
    """Return the run as nested dicts and lists, as a config file would hold it."""
    mapping = {name: _section(getattr(config, name)) for name in dict.fromkeys([*ORDER, *SECTIONS])}
    if config.plugins == PluginSettings():
        del mapping["plugins"]
    return mapping


def _section(value: Any) -> Any:
    if isinstance(value, Component):
        return _component(value)
    if isinstance(value, DataSettings):
        settings = plain(value)
        del settings["component"]
        return {"name": value.component.name, **plain(value.component.options), **settings}
    if isinstance(value, PluginSettings):
        return {key: names for key, names in plain(value).items() if names}
    if isinstance(value, tuple):
        return [_section(item) for item in value]
    return plain(value)


def _component(component: Component) -> Any:
    label = {} if component.label is None else {"label": component.label}
    keys = {**label, **plain(component.options)}
    return {"name": component.name, **keys} if keys else component.name
