"""The registry of the components that loaded plugins offer, by kind and name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING

from attrs import field, frozen

from nodelens.config.plugin_requirements import canonical
from nodelens.config.schema import COMPONENT_KINDS, FAMILY
from nodelens.errors import PluginError, UnknownNameError, did_you_mean, with_article
from nodelens.plugins.bounded import bounded
from nodelens.plugins.contracts import missing_members
from nodelens.plugins.plugin_record import PluginRecord
from nodelens.plugins.reasons import reason
from nodelens.plugins.specs import ComponentSpec, Kind, MetricSpec
from nodelens.plugins.unloaded import OFFERED, absence

if TYPE_CHECKING:
    from nodelens.config.schema import Component
    from nodelens.interfaces.operator import Operator


@frozen
class Offer:
    """One component and the plugin that offers it."""

    spec: ComponentSpec
    plugin: str
    distribution: str
    version: str

    @property
    def name(self) -> str:
        """The bare name."""
        return self.spec.name

    @property
    def qualified(self) -> str:
        """``distribution:name``, which is never ambiguous between distributions."""
        return f"{self.distribution}:{self.spec.name}"

    @property
    def family(self) -> str:
        """The family of a metric; empty for other kinds."""
        return self.spec.family if isinstance(self.spec, MetricSpec) else ""

    @property
    def provider(self) -> str:
        """Distribution and version, such as ``nodelens-metrics 0.1.0``."""
        return f"{self.distribution} {self.version}"


@frozen
class Registry:
    """The components of loaded plugins, by name or by ``distribution:name``."""

    records: tuple[PluginRecord, ...]
    offers: tuple[Offer, ...] = field(init=False)

    @offers.default
    def _all_offers(self) -> tuple[Offer, ...]:
        return tuple(
            Offer(spec, record.name, record.distribution, record.version)
            for record in self.records
            for spec in record.specs
        )

    def names(self, kind: Kind) -> list[str]:
        """Return the bare names of all components of a kind, sorted, each once."""
        return sorted({offer.name for offer in self.offers if offer.spec.kind == kind})

    def match(self, kind: Kind, pattern: str = "*") -> list[Offer]:
        """Return the offers that a pattern matches, by name.

        A pattern is a name, ``distribution:name`` or ``family:name``, each with wildcards.
        """
        named = [
            offer for offer in self.offers if offer.spec.kind == kind and _matches(offer, pattern)
        ]
        return sorted(named, key=lambda offer: (offer.name, offer.distribution))

    def matched(self, kind: Kind, pattern: str) -> list[Offer]:
        """Return the offers that a pattern matches; raises `UnknownNameError` if there are none."""
        found = self.match(kind, pattern)
        if not found:
            text = self._unmatched(kind, pattern)
            raise UnknownNameError(text + self.unloaded(kind, pattern.removeprefix(FAMILY)))
        return found

    def _unmatched(self, kind: Kind, pattern: str) -> str:
        """Return the error of a pattern without a match, with the closest name or family."""
        offers = self.match(kind)
        distribution, colon, bare = pattern.rpartition(":")
        if pattern.startswith(FAMILY):
            hint = did_you_mean(bare, {offer.family for offer in offers})
            return f"no {kind} is of a family {bare!r}{hint}"
        if colon:
            hint = did_you_mean(distribution, {offer.distribution for offer in offers})
        else:
            hint = did_you_mean(pattern.strip("*?"), self.names(kind))
        return f"no {kind} matches {pattern!r}{hint}"

    def matching(self, kind: Kind, pattern: str) -> list[str]:
        """Return the names that a pattern matches, each once.

        They are with their distribution where the pattern names distributions.
        """
        found = self.matched(kind, pattern)
        bare = ":" not in pattern or pattern.startswith(FAMILY)
        return list(dict.fromkeys(offer.name if bare else offer.qualified for offer in found))

    def offer(self, kind: Kind, name: str) -> Offer:
        """Return the only offer of a name.

        Raises `UnknownNameError` with the closest match and the plugins that are not loaded, and
        `PluginError` when several plugins offer the name.
        """
        key = _key(name)
        found = [
            offer
            for offer in self.offers
            if offer.spec.kind == kind and key == (offer.qualified if ":" in key else offer.name)
        ]
        if not found:
            raise UnknownNameError(self._unknown(kind, name))
        if len(found) > 1:
            raise PluginError(_clash(kind, name, found))
        return found[0]

    def load(self, offer: Offer) -> object:
        """Import and return the target of an offer; raises `PluginError` if the import fails."""
        module, _, attribute = offer.spec.target.partition(":")
        advice = f"leave it out with --no-plugin {offer.plugin}"
        try:
            with bounded(f"importing {_described(offer)}", advice):
                return getattr(import_module(module), attribute)
        except Exception as error:
            raise PluginError(f"{_described(offer)} cannot be loaded: {reason(error)}") from error

    def own_name(self, kind: Kind, name: str, asker: object) -> str:
        """Return a name as a component means it: its own distribution's first, if that has one."""
        target = f"{type(asker).__module__}:{type(asker).__qualname__}"
        home = next((each.distribution for each in self.offers if each.spec.target == target), "")
        own = f"{home}:{name}"
        kinds = {each.spec.kind for each in self.offers if each.qualified == own}
        return own if kind in kinds else name

    def component(self, kind: Kind, name: str) -> type:
        """Return the class of a component; raises as `offer`, `load` and `checked` do."""
        offer = self.offer(kind, name)
        return self.checked(offer, self.load(offer))

    def checked(self, offer: Offer, target: object) -> type:
        """Return `target`; raises `PluginError` unless it is a class of the offer's kind."""
        if not isinstance(target, type):
            raise PluginError(f"{_described(offer)}: {offer.spec.target} is not a class")
        if missing := missing_members(offer.spec.kind, target):
            raise PluginError(f"{_described(offer)}: {target.__name__} lacks {', '.join(missing)}")
        named = getattr(getattr(target, "info", None), "name", "")
        if offer.spec.kind == "metric" and named not in ("", offer.spec.name):
            raise PluginError(
                f"{_described(offer)}: {target.__name__}.info says name={named!r}; write it as "
                f'name="{named}" in the call of MetricInfo'
            )
        return target

    def operator(self, offer: Offer) -> Operator:
        """Return the row that an offer names; raises `PluginError` for another type."""
        from nodelens.interfaces.operator import Operator

        row = self.load(offer)
        if not isinstance(row, Operator):
            raise PluginError(
                f"{_described(offer)}: {offer.spec.target} is not an Operator (a row of "
                "nodelens.interfaces.operator)"
            )
        if "::" not in row.name and not _is_of_torch(row.name):
            raise PluginError(
                f"{_described(offer)}: torch has no operator {row.name!r}; one of a library is "
                "written my_library::my_op"
            )
        return row

    def operators(self) -> dict[str, tuple[Offer, Operator]]:
        """Return all rows by the names of their operators, with the offers.

        Raises `PluginError` as `operator` does, and where two are of one operator.
        """
        found: dict[str, tuple[Offer, Operator]] = {}
        for offer in self.match("operator"):
            row = self.operator(offer)
            if row.name in found:
                other = found[row.name][0]
                raise PluginError(
                    f"{other.plugin} and {offer.plugin} have a row of operator {row.name}; leave "
                    f"one out: --no-plugin {other.plugin} or --no-plugin {offer.plugin}"
                )
            found[row.name] = offer, row
        return found

    def build(self, kind: Kind, component: Component) -> object:
        """Return a component with its options set; raises `ConfigError` for wrong ones."""
        from nodelens.config.options import structure_options

        cls = self.component(kind, component.name)
        return structure_options(cls, component.options, component.result_name)

    def _unknown(self, kind: Kind, name: str) -> str:
        known = [offer.qualified for offer in self.match(kind)] if ":" in name else self.names(kind)
        text, absent = f"no {kind} is called {name!r}", self.unloaded(kind, name)
        if absent.startswith(OFFERED):
            return text + absent
        text += did_you_mean(name, known)
        for other in sorted({offer.spec.kind for offer in self.offers if offer.name == name}):
            text += f"; there is {with_article(other)} of that name"
            sections = [key for key, named in COMPONENT_KINDS.items() if named == other]
            places = " or ".join(f"'{section}:'" for section in sections)
            text += f"; name it under {places}" if places else ""
        return text + absent

    def unloaded(self, kind: Kind, name: str) -> str:
        """Return ``; not loaded: …`` with blocked plugins that may offer a name."""
        distribution, colon, bare = name.rpartition(":")
        absent = [
            record
            for record in self.records
            if record.status != "loaded"
            and (not colon or record.distribution == canonical(distribution))
        ]
        return absence(absent, kind, bare)


def _matches(offer: Offer, pattern: str) -> bool:
    if pattern.startswith(FAMILY):
        return fnmatchcase(offer.family, pattern.removeprefix(FAMILY))
    return fnmatchcase(offer.qualified if ":" in pattern else offer.name, _key(pattern))


def _key(name: str) -> str:
    distribution, colon, bare = name.rpartition(":")
    # Wildcards survive: PEP 503 changes only case and runs of '-', '_' and '.'.
    return canonical(distribution) + colon + bare


def _is_of_torch(name: str) -> bool:
    import torch

    return any(hasattr(torch.ops.aten, each) for each in (name, f"{name}_"))


def _described(offer: Offer) -> str:
    return f"{offer.spec.kind} {offer.name!r} of {offer.provider}"


def _clash(kind: Kind, name: str, found: Sequence[Offer]) -> str:
    providers = ", ".join(offer.provider for offer in found)
    choices = list(dict.fromkeys(offer.qualified for offer in found))
    advice = (
        f"say which one: {' or '.join(choices)}"
        if len(choices) > 1
        else (f"leave one out: {' or '.join(f'--no-plugin {offer.plugin}' for offer in found)}")
    )
    return f"{kind} {name!r} is offered by {providers}; {advice}"
