"""Every hook is documented, each argument by name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from nodelens.plugins import hookspecs
from nodelens.plugins.hooks import REGISTER, hook_names
from nodelens.plugins.manager import Plugins, load_plugins
from nodelens.plugins.specs import PLURALS, SPEC_KINDS

DOCS = Path(__file__).parents[3] / "nodelens-core" / "docs" / "plugins.md"


@pytest.mark.parametrize("hook", hook_names())
def test_every_argument_is_documented(hook):
    function = getattr(hookspecs, hook)
    _, heading, section = inspect.getdoc(function).partition("Args:\n")
    arguments = list(inspect.signature(function).parameters)
    documented = [line.split(":")[0].strip() for line in section.splitlines() if ": " in line]
    assert arguments == [name for name in documented if name in arguments]
    assert bool(heading) == bool(arguments)


@pytest.mark.parametrize("hook", hook_names())
def test_every_hook_has_an_example(hook):
    assert "Example" in inspect.getdoc(getattr(hookspecs, hook))


@pytest.mark.parametrize("hook", hook_names())
def test_every_hook_is_on_the_page(hook):
    assert f"`{hook}" in DOCS.read_text(encoding="utf-8")


def test_every_kind_has_its_hook():
    assert {REGISTER + PLURALS[kind] for kind in SPEC_KINDS} == {
        hook for hook in hook_names() if hook.startswith(REGISTER)
    }


@pytest.mark.parametrize("hook", [hook for hook in hook_names() if not hook.startswith(REGISTER)])
def test_every_other_hook_has_a_method(hook):
    method = getattr(Plugins, hook.removeprefix("nodelens_"))
    hooked = list(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert list(inspect.signature(method).parameters) == ["self", *hooked]


@pytest.mark.parametrize(
    "source", re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.S)
)
def test_the_examples_of_the_page_are_plugins(distribution, source):
    distribution("acme", source)
    (record,) = (each for each in load_plugins().records if each.distribution == "acme")
    assert record.status == "loaded", record.reason
