"""The text of a refused removal: groups, place, reason, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.removal.slicing import Change

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGroup
    from nodelens.removal.attempt import Refused
    from nodelens.removal.equivalence import RemovalCase, Trouble

CODE = "a size there or before it is a number in the code, or follows other nodes"
AS_BEFORE = "the model is as before"


@frozen(eq=False)
class Blame:
    """The groups that a removal is refused for, and a reason in words if one is known."""

    groups: Sequence[Change]
    plain: str = ""


def refusal(refused: Refused, blame: Blame) -> str:
    """Return the text of a refusal: the groups, the failure, its line, and splits in the code."""
    remaining = refused.trouble
    groups = ", ".join(each.group.name for each in blame.groups)
    why = f"{blame.plain}; " if blame.plain else ""
    tried = "1 setting" if refused.trials == 1 else f"{refused.trials} settings"
    at = f"{remaining.line}; " if remaining.line else ""
    parts = [
        f"nodes of {groups} cannot be removed: {why}in {remaining.module or 'the model'}, "
        f"{remaining.reason} ({at}{tried} of the model's integers tried)",
        *(_advice(remaining) if remaining.line else []),
        *(_split(refused.case, each.group) for each in blame.groups if each.group.split_at),
        AS_BEFORE,
    ]
    return "; ".join(parts)


def _advice(remaining: Trouble) -> list[str]:
    """Return why the code may fail there, or what to do where the error says so."""
    bytes_of = re.search(r"multiple of (\d+) bytes", remaining.reason)
    if bytes_of is None:
        return [CODE]
    half, single = int(bytes_of[1]) // 2, int(bytes_of[1]) // 4
    return [f"keep a multiple of {half} nodes (of {single} in float32)"]


def _split(case: RemovalCase, group: ChannelGroup) -> str:
    """Return where the code splits a group from others, and which of them lose nodes with it."""
    removed = [each.group.name for each in case.changes]
    joint = [names for names in case.graph.joint_groups if group.name in names]
    others = [name for names in joint for name in names if name not in removed]
    together = (
        f", from {', '.join(others)}: remove as many there in the same call" if others else ""
    )
    return f"{group.name} is {group.split_at}{together}"
