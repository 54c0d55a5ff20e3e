"""Brings a Kibana's saved objects to where they should be, and tells what a person edited from what is ours.

Saved objects have no place for a mark, and Kibana gives them back in its own spelling. So our tag's description
carries one: a fingerprint of what we wanted, and one of what Kibana gave back right after the import.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from logging_lib.dashboards.kibana import Imported, Kibana, KibanaError
from logging_lib.dashboards.objects import TAG, TAG_DESCRIPTION

Json = dict[str, Any]
Key = tuple[str, str]

_MARK = re.compile(r" \[(?P<wanted>[0-9a-f]{16}) (?P<stored>[0-9a-f]{16}) (?P<kibana>[\w.-]+)\]$")
_KIBANAS_OWN = frozenset(
    {"version", "updated_at", "created_at", "updated_by", "created_by", "namespaces", "managed", "originId"}
    | {"coreMigrationVersion", "typeMigrationVersion", "migrationVersion"}
)


class State(StrEnum):
    """How what is in Kibana stands to what should be."""

    MISSING = "missing"
    CURRENT = "current"
    OUTDATED = "outdated"  # as an earlier version of ours left it
    EDITED = "edited"  # somebody changed it since, or Kibana was upgraded
    FOREIGN = "foreign"  # objects with our ids, and no mark of ours


@dataclass(frozen=True, slots=True)
class Found:
    """What is there: the state of all, the objects by (type, id), and why the state is so."""

    state: State
    objects: Mapping[Key, Json]
    note: str = ""


def look(kibana: Kibana, wanted: Iterable[Json], *, version: str) -> Found:
    """How Kibana's objects stand to the wanted ones.

    Args:
        version: Kibana's.

    Raises:
        KibanaError: they cannot be read.
    """
    listed = list(wanted)
    keys = {_key(one) for one in listed}
    found = {_key(one): one for one in kibana.ours() if _key(one) in keys}
    if not found:
        return Found(State.MISSING, {})
    mark = (
        _MARK.search(found[("tag", TAG)]["attributes"].get("description", ""))
        if ("tag", TAG) in found
        else None
    )
    if mark is None:
        return Found(State.FOREIGN, found, "they carry no mark of logging-lib")
    if mark["stored"] != fingerprint(found.values()):
        if mark["kibana"] != version:
            note = f"Kibana was upgraded since, from {mark['kibana']}: whether somebody edited them cannot be told"
        else:
            note = "somebody edited them"
        return Found(State.EDITED, found, note)
    same = mark["wanted"] == fingerprint(listed) and keys == set(found)
    return Found(State.CURRENT if same else State.OUTDATED, found)


def put(kibana: Kibana, wanted: Iterable[Json], *, version: str) -> Imported:
    """Import the objects over those that are there, and mark them as ours.

    Raises:
        KibanaError: the import is refused.
    """
    listed = list(wanted)
    made = kibana.import_objects(listed, overwrite=True)
    if made.refused:
        return made
    keys = {_key(one) for one in listed}
    stored = [one for one in kibana.ours() if _key(one) in keys]
    mark = f"[{fingerprint(listed)} {fingerprint(stored)} {version}]"
    tag = next(one for one in listed if _key(one) == ("tag", TAG))
    marked = {**tag, "attributes": {**tag["attributes"], "description": f"{TAG_DESCRIPTION} {mark}"}}
    again = kibana.import_objects([marked], overwrite=True)
    return Imported(made.taken, again.refused)


def remove(kibana: Kibana, objects: Iterable[Key]) -> None:
    """Remove the objects, those first that refer to others.

    Raises:
        KibanaError: naming how to do it by hand where this Kibana has no API for it.
    """
    order = ("dashboard", "search", "index-pattern", "tag")
    listed = sorted(objects, key=lambda one: (order.index(one[0]), one[1]))
    try:
        kibana.delete(listed)
    except KibanaError as error:
        if error.status in (400, 404):
            raise KibanaError(
                f"{error}; or delete what carries the tag 'ML monitoring' in Stack Management, Saved Objects",
                status=error.status,
            ) from error
        raise


def differences(found: Found, wanted: Iterable[Json]) -> dict[Key, str]:
    """Unified diffs of the objects that differ, from what Kibana has to what should be."""
    made = {}
    listed = {_key(one): one for one in wanted}
    for key in dict.fromkeys([*listed, *found.objects]):
        before, after = (_lines(one.get(key)) for one in (found.objects, listed))
        if before != after:
            made[key] = "\n".join(
                difflib.unified_diff(before, after, "in Kibana", "as it should be", lineterm="")
            )
    return made


def fingerprint(objects: Iterable[Json]) -> str:
    """A hash of objects, whatever their order; of the tag only that it is there, since it carries the hash."""
    plain_objects = sorted(
        (json.dumps(plain(one), sort_keys=True) for one in objects if _key(one) != ("tag", TAG)),
    )
    return sha256("\n".join(plain_objects).encode()).hexdigest()[:16]


def plain(one: Mapping[str, Any]) -> Json:
    """An object without what Kibana keeps for itself, JSON in strings taken apart, references in order."""
    made = {key: _opened(value) for key, value in one.items() if key not in _KIBANAS_OWN}
    made["references"] = sorted(
        made.get("references", []), key=lambda ref: (ref["name"], ref["type"], ref["id"])
    )
    return made


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _opened(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_opened(one) for one in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return _opened(json.loads(value))
        except (ValueError, RecursionError):
            return value
    return value


def _lines(one: Json | None) -> list[str]:
    if one is None:
        return []
    shown = plain(one)
    if _key(one) == ("tag", TAG):
        shown["attributes"] = {
            **shown["attributes"],
            "description": _MARK.sub("", shown["attributes"].get("description", "")),
        }
    return json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False).splitlines()


def _key(one: Mapping[str, Any]) -> Key:
    return str(one["type"]), str(one["id"])
