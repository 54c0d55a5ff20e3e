"""The rules for what a deployment does with an object on a server: ours or not, current or not, edited or not.

An object that a deployment wrote carries a mark with a fingerprint of its body. A stored body with another
fingerprint was edited since then. There is no I/O.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

CREATED, UPDATED, OVERWRITTEN, REMOVED = "created", "updated", "overwritten", "removed"
UNCHANGED, REFUSED, LEFT = "unchanged", "refused", "left as it is"

EDITED_NOTE = "somebody edited it"


class OwnershipState(StrEnum):
    """The state of the object that a server has under a name, compared with the object that it should have."""

    MISSING = "missing"
    CURRENT = "current"
    OUTDATED = "outdated"  # ours, written by an earlier version
    EDITED = "edited"  # ours, but changed since then by a person or by an upgrade of the server
    FOREIGN = "foreign"  # not ours, or without our mark


@dataclass(frozen=True, slots=True)
class Change:
    """The action that was or would be taken for one object; ``diff`` is a unified diff of its body."""

    name: str
    action: str
    note: str = ""
    diff: str = ""

    @property
    def is_change(self) -> bool:
        return self.action in (CREATED, UPDATED, OVERWRITTEN, REMOVED)


def fingerprint(body: Any, *, length: int) -> str:
    """Hash a JSON document to ``length`` hexadecimal digits, which do not depend on the order of its keys."""
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:length]


def compare_mark(mark: str | None, stored_fingerprint: str) -> OwnershipState:
    """Classify a stored object whose body differs from the wanted one.

    Args:
        mark: the fingerprint that the deployment noted; None if the object does not carry our mark.
        stored_fingerprint: the fingerprint of the body that the server has now.
    """
    if mark is None:
        return OwnershipState.FOREIGN
    return OwnershipState.OUTDATED if mark == stored_fingerprint else OwnershipState.EDITED


def plan_change(
    name: str, state: OwnershipState, *, note: str, diff: str, force: bool, hint: str = ""
) -> Change:
    """Plan the change that brings an object to its wanted state.

    Args:
        note: why the object must not be overwritten, if that is so.
        diff: a unified diff from the stored body to the wanted one.
        force: whether to overwrite edited and foreign objects, too; otherwise they are refused.
        hint: what else the user can do, shown with the refusal.
    """
    match state:
        case OwnershipState.MISSING:
            return Change(name, CREATED, diff=diff)
        case OwnershipState.CURRENT:
            return Change(name, UNCHANGED)
        case OwnershipState.OUTDATED:
            return Change(name, UPDATED, diff=diff)
    if force:
        return Change(name, OVERWRITTEN, note, diff)
    return Change(name, REFUSED, f"{note}; see the difference with --diff; --force overwrites it{hint}", diff)


def diff_lines(stored: Sequence[str], wanted: Sequence[str], *, where: str) -> str:
    """Return a unified diff from the stored lines to the wanted ones, which is empty if they are equal.

    Args:
        where: the heading of the stored side, such as ``in the cluster``.
    """
    return "\n".join(difflib.unified_diff(stored, wanted, where, "as it should be", lineterm=""))
