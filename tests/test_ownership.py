"""What a deployment does with an object on a server."""

from __future__ import annotations

import pytest

from logging_lib._util.ownership import (
    EDITED_NOTE,
    Change,
    OwnershipState,
    compare_mark,
    diff_lines,
    fingerprint,
    plan_change,
)

STATES = list(OwnershipState)


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [2]}, length=16) == fingerprint({"b": [2], "a": 1}, length=16)
    assert fingerprint({"a": 1}, length=8) == fingerprint({"a": 1}, length=16)[:8]
    assert fingerprint({"a": 1}, length=8) != fingerprint({"a": 2}, length=8)


@pytest.mark.parametrize(
    ("mark", "stored", "expected"),
    [
        (None, "f1", OwnershipState.FOREIGN),
        ("f1", "f1", OwnershipState.OUTDATED),
        ("f1", "f2", OwnershipState.EDITED),
    ],
)
def test_the_mark_decides_whose_a_different_object_is(
    mark: str | None, stored: str, expected: OwnershipState
) -> None:
    assert compare_mark(mark, stored) is expected


@pytest.mark.parametrize("force", [False, True])
def test_only_edited_and_foreign_objects_need_force(force: bool) -> None:
    """They are refused otherwise, with the remedy."""
    plans = [plan_change("x", state, note=EDITED_NOTE, diff="-a", force=force) for state in STATES]
    actions = ["created", "unchanged", "updated", *(2 * ["overwritten" if force else "refused"])]
    assert [plan.action for plan in plans] == actions
    assert [plan.is_change for plan in plans] == [True, False, True, force, force]
    assert plans[1] == Change("x", "unchanged")
    assert plans[3].note.startswith(EDITED_NOTE)
    assert ("--force" in plans[3].note) is not force


def test_a_diff_names_both_sides() -> None:
    lines = diff_lines(["a", "b"], ["a", "c"], where="in the cluster").splitlines()
    assert lines[:2] == ["--- in the cluster", "+++ as it should be"]
    assert lines[-2:] == ["-b", "+c"]
    assert diff_lines(["a"], ["a"], where="in Kibana") == ""
