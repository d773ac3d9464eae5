"""The public names of ``nodelens``, imported when they are used."""

from __future__ import annotations

import pytest

import nodelens


@pytest.mark.parametrize("name", nodelens.__all__)
def test_every_public_name_is_there(name):
    assert getattr(nodelens, name)
    assert name in dir(nodelens)


def test_a_name_that_is_not_public_is_missing():
    with pytest.raises(AttributeError, match="module 'nodelens' has no attribute 'scores'"):
        nodelens.scores  # noqa: B018


def test_the_version_is_that_of_the_distribution():
    from nodelens.version import installed_version

    assert nodelens.__version__ == installed_version()
