"""Documents of an ``index`` action: the payload, or what it holds as ``_doc``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logging_lib.watch.messages._identity import identity
from logging_lib.watch.messages._types import Index, MessageError, Stored
from logging_lib.watch.model import IndexAction


def index(name: str, action: IndexAction, context: Mapping[str, Any]) -> Index:
    """As in Watcher: ``_doc`` may be one document or a list, each may bring its own ``_index`` and ``_id``."""
    payload = context["ctx"]["payload"]
    given = payload.get("_doc", payload)
    many = isinstance(given, list | tuple)
    documents = list(given) if many else [given]
    if many and action.doc_id is not None:
        raise MessageError("index: doc_id is for one document, and _doc is a list: give each its _id")
    if not documents:
        raise MessageError("index: _doc is an empty list: there is nothing to store")
    stored = tuple(
        _stored(name, number, action, document, context) for number, document in enumerate(documents)
    )
    refresh = action.refresh in (True, "true", "wait_for")
    return Index(documents=stored, create=action.op_type == "create", refresh=refresh)


def _stored(name: str, number: int, action: IndexAction, document: Any, context: Mapping[str, Any]) -> Stored:
    if not isinstance(document, Mapping):
        raise MessageError(f"index: _doc holds {type(document).__name__}: a document is an object")
    source = {key: value for key, value in document.items() if key not in ("_index", "_type", "_id")}
    ctx = context["ctx"]
    target = action.index or document.get("_index")
    if not isinstance(target, str) or not target:
        raise MessageError("index: neither the action's 'index' nor the document's '_index' names one")
    if action.doc_id is not None and "_id" in document:
        raise MessageError("index: both the action's doc_id and the document's _id are given")
    own = action.doc_id or document.get("_id")
    key = identity(context, name, str(number)) if own is None else str(own)
    if action.execution_time_field:
        source[action.execution_time_field] = ctx["execution_time"]
    if target.startswith("logs-"):
        # What every data stream and the store ask for.
        source.setdefault("@timestamp", ctx["execution_time"])
        event = source.get("event")
        if "event.id" not in source and (event is None or isinstance(event, Mapping)):
            source["event"] = {"id": key, **(event or {})}
    return Stored(index=target, id=key, source=source)
