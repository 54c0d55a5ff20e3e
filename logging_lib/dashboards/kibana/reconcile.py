"""Brings a Kibana's saved objects to where they should be, and tells what a person edited from what is ours.

Saved objects have no place for a mark, and Kibana gives them back in its own spelling. So our tag's description
carries the marks: of each object a fingerprint of what we wanted, and one of what Kibana gave back right after the
import.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from logging_lib._util import ownership
from logging_lib._util.ownership import OwnershipState, compare_mark, diff_lines
from logging_lib.dashboards.kibana.client import Imported, Kibana, KibanaError
from logging_lib.dashboards.kibana.objects import TAG, TAG_DESCRIPTION

Json = dict[str, Any]
Key = tuple[str, str]

TAG_KEY: Key = ("tag", TAG)
_MARKS = re.compile(r" \[(?P<kibana>[\w.-]+)(?P<marks>(?: [0-9a-f]{8}=[0-9a-f]{8}-[0-9a-f]{8})*)\]$")
_KIBANAS_OWN = frozenset(
    {"version", "updated_at", "created_at", "updated_by", "created_by", "namespaces", "managed", "originId"}
    | {"coreMigrationVersion", "typeMigrationVersion", "migrationVersion"}
)


@dataclass(frozen=True, slots=True)
class KibanaStatus:
    """The state of each wanted object, and what Kibana has of them.

    ``upgraded`` is the version of the Kibana that our marks are of, where it is another now: it may have brought
    objects into another form, so that an edit cannot be distinguished from that.
    """

    states: Mapping[Key, OwnershipState]
    objects: Mapping[Key, Json]
    upgraded: str | None = None

    @property
    def current(self) -> bool:
        return all(state is OwnershipState.CURRENT for state in self.states.values())

    def note(self, key: Key) -> str:
        """Say why an object must not be overwritten unasked; empty where it may be."""
        match self.states[key]:
            case OwnershipState.EDITED if self.upgraded is not None:
                return f"Kibana was upgraded from {self.upgraded}: whether somebody edited it is unknown"
            case OwnershipState.EDITED:
                return "somebody edited it"
            case OwnershipState.FOREIGN:
                return "it has no mark of ours: imported by hand, or somebody else's"
        return ""

    @property
    def protected(self) -> list[Key]:
        return [key for key in self.states if self.note(key)]


def inspect_objects(kibana: Kibana, wanted: Iterable[Json], *, version: str) -> KibanaStatus:
    """How Kibana's objects stand to the wanted ones.

    Args:
        version: Kibana's.

    Raises:
        KibanaError: they cannot be read.
    """
    listed = {_key(one): one for one in wanted}
    found = {_key(one): one for one in kibana.ours()}
    of, marks = _read_marks(found.get(TAG_KEY))
    states = {key: _state(key, one, found.get(key), marks) for key, one in listed.items()}
    kept = {key: one for key, one in found.items() if key in listed}
    return KibanaStatus(states, kept, of if of not in ("", version) else None)


def import_objects(kibana: Kibana, wanted: Iterable[Json], *, version: str) -> Imported:
    """Import the objects over those that are there, and mark them as ours.

    Raises:
        KibanaError: the import is refused.
    """
    listed = {_key(one): one for one in wanted}
    _, marks = _read_marks(next((one for one in kibana.ours() if _key(one) == TAG_KEY), None))
    made = kibana.import_objects(listed.values(), overwrite=True)
    if made.refused:
        return made
    for one in kibana.ours():
        key = _key(one)
        if key in listed and key != TAG_KEY:
            marks[_short_key(key)] = (fingerprint(listed[key]), fingerprint(one))
    text = "".join(f" {key}={before}-{after}" for key, (before, after) in sorted(marks.items()))
    tag = listed[TAG_KEY]
    description = f"{TAG_DESCRIPTION} [{version}{text}]"
    marked = {**tag, "attributes": {**tag["attributes"], "description": description}}
    again = kibana.import_objects([marked], overwrite=True)
    return Imported(made.taken, again.refused)


def _read_marks(tag: Json | None) -> tuple[str, dict[str, tuple[str, str]]]:
    """Kibana's version at the time, and by object the fingerprints of what was wanted and of what was stored."""
    found = _MARKS.search(str(tag["attributes"].get("description", ""))) if tag is not None else None
    if found is None:
        return "", {}
    pairs = (entry.split("=") for entry in found["marks"].split())
    return found["kibana"], {key: (value[:8], value[9:]) for key, value in pairs}


def _state(
    key: Key, wanted: Json, stored: Json | None, marks: Mapping[str, tuple[str, str]]
) -> OwnershipState:
    if stored is None:
        return OwnershipState.MISSING
    if key == TAG_KEY or normalize_object(stored) == normalize_object(wanted):
        return OwnershipState.CURRENT
    mark = marks.get(_short_key(key))
    state = compare_mark(None if mark is None else mark[1], fingerprint(stored))
    if state is OwnershipState.OUTDATED and mark is not None and mark[0] == fingerprint(wanted):
        return OwnershipState.CURRENT
    return state


def remove_objects(kibana: Kibana, objects: Iterable[Key]) -> None:
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


def differences(found: KibanaStatus, wanted: Iterable[Json]) -> dict[Key, str]:
    """Unified diffs of the objects that differ, from what Kibana has to what should be."""
    made: dict[Key, str] = {}
    listed = {_key(one): one for one in wanted}
    for key in listed:
        before, after = (_lines(one.get(key)) for one in (found.objects, listed))
        if before != after:
            made[key] = diff_lines(before, after, where="in Kibana")
    return made


def fingerprint(one: Mapping[str, Any]) -> str:
    """A hash of an object's plain form."""
    return ownership.fingerprint(normalize_object(one), length=8)


def normalize_object(one: Mapping[str, Any]) -> Json:
    """An object without what Kibana keeps for itself, JSON in strings taken apart, references in order."""
    made = {key: _parse_json_texts(value) for key, value in one.items() if key not in _KIBANAS_OWN}
    if one["type"] == "index-pattern":  # Discover counts there how often a field was looked at
        known = made["attributes"].get("fieldAttrs") or {}
        kept = {name: {k: v for k, v in notes.items() if k != "count"} for name, notes in known.items()}
        made["attributes"]["fieldAttrs"] = {name: notes for name, notes in kept.items() if notes}
    made["references"] = sorted(
        made.get("references", []), key=lambda ref: (ref["name"], ref["type"], ref["id"])
    )
    return made


def _parse_json_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _parse_json_texts(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_parse_json_texts(one) for one in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return _parse_json_texts(json.loads(value))
        except (ValueError, RecursionError):
            return value
    return value


def _lines(one: Json | None) -> list[str]:
    if one is None:
        return []
    shown = normalize_object(one)
    if _key(one) == TAG_KEY:
        shown["attributes"] = {
            **shown["attributes"],
            "description": _MARKS.sub("", shown["attributes"].get("description", "")),
        }
    return json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False).splitlines()


def _short_key(key: Key) -> str:
    return sha256("/".join(key).encode()).hexdigest()[:8]


def _key(one: Mapping[str, Any]) -> Key:
    return str(one["type"]), str(one["id"])
