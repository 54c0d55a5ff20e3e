"""Index documents in the store itself: Watcher's ``index`` action. It needs no settings, only a store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import model_validator

from logging_lib._util.times import format_instant
from logging_lib.store.port import Store, StoreError
from logging_lib.watch.model import Model, fault
from logging_lib.watch.notify.base import Channel, DeliveryError, Fetch, Notification, RenderError, hash_id


class IndexAction(Model):
    """An action that stores the payload; its ``_doc`` is the document, or a list of documents."""

    index: str | None = None
    doc_id: str | None = None
    op_type: Literal["index", "create"] = "index"
    execution_time_field: str | None = None
    refresh: bool | Literal["true", "false", "wait_for"] = False

    @model_validator(mode="after")
    def _literal(self) -> IndexAction:
        for name in ("index", "doc_id"):
            text = getattr(self, name) or ""
            if "{{" in text or text.startswith("<"):
                raise fault(
                    "index",
                    f"{name} is neither a template nor date math: set _index or _id in the document instead",
                )
        return self


@dataclass(frozen=True)
class IndexChannel(Channel):
    """The channel that stores documents; a document that is stored again after a crash replaces itself.

    A notification's content has ``documents``, each with ``index``, ``id`` and ``source``; ``create`` (an existing
    document stays unchanged); and ``refresh``.
    """

    name = "index"
    action_type = "index"
    action_model = IndexAction
    needs_store = True
    ignored = {"doc_type": "documents have no types any more"}
    unsupported = {"timeout": "leave it out"}

    store: Store

    @classmethod
    def recipients(cls, settings: IndexAction) -> Sequence[str]:
        return [settings.index or "an index"]

    @classmethod
    def render(
        cls, settings: IndexAction, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None
    ) -> list[Notification]:
        """Render as in Watcher: ``_doc`` is one document or a list; each may have its own ``_index`` and
        ``_id``."""
        payload = context["ctx"]["payload"]
        content = payload.get("_doc", payload)
        is_list = isinstance(content, list | tuple)
        sources = list(content) if is_list else [content]
        if is_list and settings.doc_id is not None:
            raise RenderError("index: doc_id is for one document, and _doc is a list: give each its _id")
        if not sources:
            raise RenderError("index: _doc is an empty list: there is nothing to store")
        documents = [
            _document(hash_id(draft.id, str(number)), settings, source, context)
            for number, source in enumerate(sources)
        ]
        targets = ", ".join(dict.fromkeys(document["index"] for document in documents))
        update = {
            "channel": cls.name,
            "subject": f"{len(documents)} document{'s' if len(documents) != 1 else ''} to {targets}",
            "content": {
                "documents": documents,
                "create": settings.op_type == "create",
                "refresh": settings.refresh in (True, "true", "wait_for"),
            },
        }
        return [draft.model_copy(update=update)]

    @classmethod
    def test(cls, draft: Notification, recipient: str, subject: str, text: str) -> Notification:
        if not recipient:
            raise RenderError("name an index: --recipient ml-notes")
        document = {"@timestamp": format_instant(draft.created_at), "message": f"{subject}: {text}"}
        context = {"ctx": {"payload": document, "execution_time": document["@timestamp"]}}
        return cls.render(IndexAction(index=recipient), context, draft, None)[0]

    @classmethod
    def preview(cls, notification: Notification) -> str:
        lines = [
            f"{document['index']} {document['id']}: {json.dumps(document['source'], default=str)}"
            for document in notification.content["documents"]
        ]
        return "\n".join(["index", *lines])

    @classmethod
    def configure(cls, environ: Mapping[str, str], store: Store | None = None) -> IndexChannel | None:
        return None if store is None else cls(store)

    def deliver(self, notification: Notification) -> str:
        content = notification.content
        documents = content["documents"]
        faults: dict[str, str] = {}
        for target in dict.fromkeys(document["index"] for document in documents):
            sources = [
                {**document["source"], "_id": document["id"]}
                for document in documents
                if document["index"] == target
            ]
            try:
                result = self.store.index(target, sources, create=content["create"])
            except StoreError as error:
                raise DeliveryError(f"the store did not take the documents: {error}", down=True) from None
            faults.update(result.failed)
        if content["refresh"]:
            self.store.refresh()
        if faults:
            left = [document for document in documents if document["id"] in faults] or documents
            remaining = notification.model_copy(update={"content": {**content, "documents": left}})
            raise DeliveryError(
                f"the store refused {len(faults)} of {len(documents)} documents: {next(iter(faults.values()))}",
                remaining=remaining,
            )
        return f"stored {notification.subject}"


def _document(
    derived_id: str, action: IndexAction, document: Any, context: Mapping[str, Any]
) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        raise RenderError(f"index: _doc holds {type(document).__name__}: a document is an object")
    source = {key: value for key, value in document.items() if key not in ("_index", "_type", "_id")}
    execution_time = context["ctx"]["execution_time"]
    target = action.index or document.get("_index")
    if not isinstance(target, str) or not target:
        raise RenderError("index: neither the action's 'index' nor the document's '_index' names one")
    if action.doc_id is not None and "_id" in document:
        raise RenderError("index: both the action's doc_id and the document's _id are given")
    named_id = action.doc_id or document.get("_id")
    document_id = derived_id if named_id is None else str(named_id)
    if action.execution_time_field:
        source[action.execution_time_field] = execution_time
    if target.startswith("logs-"):
        # Every data stream and the store require these fields.
        source.setdefault("@timestamp", execution_time)
        event = source.get("event")
        if "event.id" not in source and (event is None or isinstance(event, Mapping)):
            source["event"] = {"id": document_id, **(event or {})}
    return {"index": target, "id": document_id, "source": source}
