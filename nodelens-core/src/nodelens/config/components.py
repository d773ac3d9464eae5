"""Checking the sections that name components."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

from nodelens.config.class_keys import entries, limited, values_of
from nodelens.config.constraints import Constraints
from nodelens.config.raw import KeyPath, Problem, dotted
from nodelens.config.schema import (
    COMPONENT_KINDS,
    FILE_NAME,
    LABELLED_SECTIONS,
    SECTION,
    Component,
    is_pattern,
)
from nodelens.config.structuring import INVALID, fit
from nodelens.config.words import given
from nodelens.errors import NodelensError, with_article

if TYPE_CHECKING:
    from nodelens.plugins.specs import Kind

LABEL = limited(
    str,
    Constraints(pattern=FILE_NAME, expected="a label of letters, digits, '.', '_' and '-'"),
)


class ComponentSource(Protocol):
    """What the check asks of the plugin registry."""

    def names(self, kind: Kind) -> list[str]:
        """Return the names that plugins offer."""

    def component(self, kind: Kind, name: str) -> type:
        """Return the class of a component; raises a `NodelensError` that says why it cannot."""

    def matching(self, kind: Kind, pattern: str) -> list[str]:
        """Return the names that a pattern matches; raises `UnknownNameError` if there are none."""

    def own_name(self, kind: Kind, name: str, asker: object) -> str:
        """Return a name as a component means it: its own distribution's first."""

    def unloaded(self, kind: Kind, name: str) -> str:
        """Return which plugins that are not loaded may offer a name, as the end of a sentence."""


@frozen(eq=False)
class ComponentCheck:
    """Reads components of one section and collects what is wrong with them."""

    section: str
    registry: ComponentSource
    problems: list[Problem]
    built: dict[str, object] = field(factory=dict)
    """What was built to check the options, by the name in results."""

    @property
    def kind(self) -> Kind:
        """The kind of component that the section names."""
        return COMPONENT_KINDS[self.section]

    def several(self, value: Any) -> tuple[Component, ...]:
        """Return the components of a list, a single mapping or a bare name; null means none."""
        if value is None:
            return ()
        base: KeyPath = (self.section,)
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        found: list[tuple[KeyPath, Component]] = []
        for position, item in items:
            path = base if position is None else (*base, position)
            component = self.one(item, path)
            if component is not None:
                self._compare(component, path, found)
                found.append((path, component))
        return tuple(component for _, component in found)

    def one(self, value: Any, path: KeyPath, others: Iterable[str] = ()) -> Component | None:
        """Return one component; `others` are keys that the section itself takes."""
        if isinstance(value, str):
            return self._checked(value, {}, None, path, path, others)
        if not isinstance(value, dict):
            message = f"expected {with_article(self.kind)}: a name, or a mapping with 'name'"
            self.problems.append(Problem(path, f"{message}, got {given(value)}"))
            return None
        if not isinstance(value.get("name"), str):
            self._nameless(value, path)
            return None
        label = self._label(value, path)
        own = {"name", "label"} if label is not None else {"name"}
        options = {key: item for key, item in value.items() if key not in own}
        if self.section in LABELLED_SECTIONS:
            others = ("label", *others)
        return self._checked(value["name"], options, label, path, (*path, "name"), others)

    def _nameless(self, value: dict[str, Any], path: KeyPath) -> None:
        if "name" in value:
            words = f"expected the name of {with_article(self.kind)}, got {given(value['name'])}"
            self.problems.append(Problem((*path, "name"), words))
            return
        key = next(iter(value), None)
        known = len(value) == 1 and key in self.registry.names(self.kind)
        hint = f"write {{name: {key}, …}}" if known else "add 'name: …'"
        self.problems.append(Problem(path, f"the {self.kind} has no 'name'", hint))

    def _label(self, value: dict[str, Any], path: KeyPath) -> str | None:
        if self.section not in LABELLED_SECTIONS or "label" not in value:
            return None
        label = fit(LABEL, value["label"], (*path, "label"), self.problems)
        return "" if label is INVALID else str(label)

    def _checked(
        self,
        name: str,
        options: dict[str, Any],
        label: str | None,
        path: KeyPath,
        at: KeyPath,
        others: Iterable[str],
    ) -> Component | None:
        if self.section == SECTION and is_pattern(name):
            return self._pattern(name, options, label, at)
        try:
            cls = self.registry.component(self.kind, name)
            entries(cls)
        except NodelensError as error:
            self.problems.append(Problem(at, str(error)))
            return None
        built = fit(cls, options, path, self.problems, others)
        if built is INVALID:
            return None
        component = Component(name, values_of(built), label)
        self.built[component.result_name] = built
        return component

    def _pattern(
        self, pattern: str, options: dict[str, Any], label: str | None, at: KeyPath
    ) -> Component | None:
        try:
            self.registry.matching(self.kind, pattern)
        except NodelensError as error:
            self.problems.append(Problem(at, str(error)))
            return None
        if options or label is not None:
            words = f"{pattern!r} stands for several metrics and takes no options"
            self.problems.append(Problem(at, words, "name the metric that has them beside it"))
            return None
        return Component(pattern)

    def _compare(
        self, component: Component, path: KeyPath, earlier: Sequence[tuple[KeyPath, Component]]
    ) -> None:
        for at, other in earlier:
            same = (component.name, component.options) == (other.name, other.options)
            if same:
                message = f"{component.name!r} says the same as {dotted(at)}; take one out"
            elif component.result_name != other.result_name:
                continue
            elif self.section in LABELLED_SECTIONS:
                shared = component.result_name
                message = f"{shared!r} is also the name of {dotted(at)}; give one a 'label'"
            else:
                message = f"{component.name!r} is also {dotted(at)}; {self.section} take it once"
            self.problems.append(Problem(path, message))
            return
