"""Find out whether a label is one of its model's classes, which the model's published profile lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from logging_lib._util.formatting import list_values
from logging_lib.schema import tokens
from logging_lib.schema.templates import PROFILES
from logging_lib.store.history import output_of
from logging_lib.store.port import Store

_KNOWN: Final = ("expected.classifier.classes", "expected.prediction.bins", "expected.prediction.rows")


def actual_of(stored: Mapping[str, Any]) -> Any:
    """Return the actual value in a document's ``ml.label``: a number, a class, sorted labels, or None."""
    return sorted(set(stored["labels"])) if stored.get("labels") is not None else output_of(stored)


class KnownClasses:
    """Finds the classes or labels of a model version in its published profile; without a store, none are known."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._classes: dict[str, tuple[str, ...]] = {}

    def find(self, model: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the classes of ``ml.model``, or an empty tuple if they are not known."""
        key = f"{model.get('name')}:{model.get('version')}"
        if key not in self._classes:
            self._classes[key] = self._read(key)
        return self._classes[key]

    def _read(self, key: str) -> tuple[str, ...]:
        if self._store is None:
            return ()
        body = {"size": 1, "query": {"ids": {"values": [key]}}, "_source": list(_KNOWN)}
        for hit in self._store.search(PROFILES, body)["hits"]["hits"]:
            expected = hit["_source"].get("expected") or {}
            output = expected.get("prediction") or {}
            if "rows" not in output:
                return tuple((expected.get("classifier") or {}).get("classes") or ())
            bins = output.get("bins") or {}
            return () if bins.get(tokens.OTHER) else tuple(name for name in bins if not name.startswith("!"))
        return ()

    def refuse(self, label: Mapping[str, Any], model: Mapping[str, Any]) -> str:
        """Say why an event's ``ml.label`` is none of its model's classes; empty if it may be, as a number may.

        Of several labels, one must be known.
        """
        actual = actual_of(label)
        labels = [actual] if isinstance(actual, str) else actual if isinstance(actual, list) else []
        known = self.find(model) if labels else ()
        spelled = {*labels, *map(tokens.escape, labels)}  # a profile has its labels as names of bins
        if not known or not spelled.isdisjoint(known):
            return ""
        what = f"{actual!r} is not a class" if isinstance(actual, str) else f"none of {actual!r} is a label"
        return (
            f"{what} of {model['name']}: {list_values(map(repr, known), 10)}; write it as the model does, or "
            "keep it with --new-classes"
        )
