"""Where events are stored and searched: one port, ``Store``, and two stores, which need the extra ``[ops]``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from logging_lib.store.port import IndexResult, QueryNotSupported, SearchError, Store, StoreError

if TYPE_CHECKING:
    from logging_lib.store.connection import Connection, ElasticsearchError, Settings, settings_from
    from logging_lib.store.elasticsearch import ElasticsearchStore
    from logging_lib.store.embedded.store import EmbeddedStore

__all__ = [
    "Connection",
    "ElasticsearchError",
    "ElasticsearchStore",
    "EmbeddedStore",
    "IndexResult",
    "QueryNotSupported",
    "SearchError",
    "Settings",
    "Store",
    "StoreError",
    "settings_from",
]

_LAZY = {
    "Connection": "logging_lib.store.connection",
    "ElasticsearchError": "logging_lib.store.connection",
    "ElasticsearchStore": "logging_lib.store.elasticsearch",
    "EmbeddedStore": "logging_lib.store.embedded.store",
    "Settings": "logging_lib.store.connection",
    "settings_from": "logging_lib.store.connection",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:  # a client or a database: imported when somebody uses it
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
