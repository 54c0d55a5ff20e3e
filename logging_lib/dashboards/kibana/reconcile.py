"""Reconcile a Kibana's saved objects with the desired ones, and distinguish a person's edits from our changes.

Saved objects have no place for a mark, and Kibana returns them in its own form. So our tag's description holds
the marks: for each object a fingerprint of the desired form, and one of the form that Kibana returned right after
the import.
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
from logging_lib.dashboards.kibana.client import ImportResult, Kibana, KibanaError
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
    """The state of each desired object, and Kibana's version of it.

    ``upgraded`` is the version of the Kibana that wrote our marks, if it is a different one now: the upgrade may
    have migrated objects, so that an edit cannot be distinguished from that.
    """

    states: Mapping[Key, OwnershipState]
    objects: Mapping[Key, Json]
    upgraded: str | None = None

    @property
    def current(self) -> bool:
        return all(state is OwnershipState.CURRENT for state in self.states.values())

    def note(self, key: Key) -> str:
        """Return why an object must not be overwritten without ``force``; empty if it may be."""
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


def inspect_objects(kibana: Kibana, desired: Iterable[Json], *, version: str) -> KibanaStatus:
    """Compare Kibana's objects with the desired ones.

    Args:
        version: Kibana's version.

    Raises:
        KibanaError: the objects cannot be read.
    """
    desired_by_key = {_key_of(document): document for document in desired}
    stored_by_key = {_key_of(document): document for document in kibana.export_ours()}
    marked_version, marks = _read_marks(stored_by_key.get(TAG_KEY))
    states = {
        key: _compare_object(key, document, stored_by_key.get(key), marks)
        for key, document in desired_by_key.items()
    }
    stored_desired = {key: document for key, document in stored_by_key.items() if key in desired_by_key}
    return KibanaStatus(
        states, stored_desired, marked_version if marked_version not in ("", version) else None
    )


def import_objects(kibana: Kibana, desired: Iterable[Json], *, version: str) -> ImportResult:
    """Import the objects over existing ones, and mark them as ours.

    Raises:
        KibanaError: the import is refused.
    """
    desired_by_key = {_key_of(document): document for document in desired}
    _, marks = _read_marks(
        next((document for document in kibana.export_ours() if _key_of(document) == TAG_KEY), None)
    )
    imported = kibana.import_objects(desired_by_key.values(), overwrite=True)
    if imported.refused:
        return imported
    for document in kibana.export_ours():
        key = _key_of(document)
        if key in desired_by_key and key != TAG_KEY:
            marks[_short_key(key)] = (fingerprint(desired_by_key[key]), fingerprint(document))
    marks_text = "".join(f" {key}={before}-{after}" for key, (before, after) in sorted(marks.items()))
    tag = desired_by_key[TAG_KEY]
    description = f"{TAG_DESCRIPTION} [{version}{marks_text}]"
    marked_tag = {**tag, "attributes": {**tag["attributes"], "description": description}}
    tag_import = kibana.import_objects([marked_tag], overwrite=True)
    return ImportResult(imported.taken, tag_import.refused)


def _read_marks(tag: Json | None) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return Kibana's version at that time, and by object the fingerprints of its desired and its stored form."""
    match = _MARKS.search(str(tag["attributes"].get("description", ""))) if tag is not None else None
    if match is None:
        return "", {}
    pairs = (entry.split("=") for entry in match["marks"].split())
    return match["kibana"], {key: (value[:8], value[9:]) for key, value in pairs}


def _compare_object(
    key: Key, desired: Json, stored: Json | None, marks: Mapping[str, tuple[str, str]]
) -> OwnershipState:
    if stored is None:
        return OwnershipState.MISSING
    if key == TAG_KEY or normalize_object(stored) == normalize_object(desired):
        return OwnershipState.CURRENT
    mark = marks.get(_short_key(key))
    state = compare_mark(None if mark is None else mark[1], fingerprint(stored))
    if state is OwnershipState.OUTDATED and mark is not None and mark[0] == fingerprint(desired):
        return OwnershipState.CURRENT
    return state


def remove_objects(kibana: Kibana, objects: Iterable[Key]) -> None:
    """Remove the objects, first those that refer to others.

    Raises:
        KibanaError: this Kibana has no API for it; the message says how to do it by hand.
    """
    order = ("dashboard", "search", "index-pattern", "tag")
    ordered_keys = sorted(objects, key=lambda object_key: (order.index(object_key[0]), object_key[1]))
    try:
        kibana.delete(ordered_keys)
    except KibanaError as error:
        if error.status in (400, 404):
            raise KibanaError(
                f"{error}; or delete what carries the tag 'ML monitoring' in Stack Management, Saved Objects",
                status=error.status,
            ) from error
        raise


def diff_objects(status: KibanaStatus, desired: Iterable[Json]) -> dict[Key, str]:
    """Return unified diffs of the objects that differ, from Kibana's form to the desired one."""
    diffs: dict[Key, str] = {}
    desired_by_key = {_key_of(document): document for document in desired}
    for key in desired_by_key:
        before, after = (_render_lines(documents.get(key)) for documents in (status.objects, desired_by_key))
        if before != after:
            diffs[key] = diff_lines(before, after, where="in Kibana")
    return diffs


def fingerprint(document: Mapping[str, Any]) -> str:
    """Return a hash of an object's normalized form."""
    return ownership.fingerprint(normalize_object(document), length=8)


def normalize_object(document: Mapping[str, Any]) -> Json:
    """Normalize an object: remove what Kibana adds itself, parse JSON in strings, sort references."""
    normalized = {key: _parse_json_texts(value) for key, value in document.items() if key not in _KIBANAS_OWN}
    if document["type"] == "index-pattern":  # Discover counts in it how often a field was viewed
        field_attributes = normalized["attributes"].get("fieldAttrs") or {}
        without_counts = {
            name: {k: v for k, v in notes.items() if k != "count"} for name, notes in field_attributes.items()
        }
        normalized["attributes"]["fieldAttrs"] = {
            name: notes for name, notes in without_counts.items() if notes
        }
    normalized["references"] = sorted(
        normalized.get("references", []), key=lambda ref: (ref["name"], ref["type"], ref["id"])
    )
    return normalized


def _parse_json_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _parse_json_texts(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_parse_json_texts(member) for member in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return _parse_json_texts(json.loads(value))
        except (ValueError, RecursionError):
            return value
    return value


def _render_lines(document: Json | None) -> list[str]:
    if document is None:
        return []
    normalized = normalize_object(document)
    if _key_of(document) == TAG_KEY:
        normalized["attributes"] = {
            **normalized["attributes"],
            "description": _MARKS.sub("", normalized["attributes"].get("description", "")),
        }
    return json.dumps(normalized, indent=1, sort_keys=True, ensure_ascii=False).splitlines()


def _short_key(key: Key) -> str:
    return sha256("/".join(key).encode()).hexdigest()[:8]


def _key_of(document: Mapping[str, Any]) -> Key:
    return str(document["type"]), str(document["id"])
