"""Store events and search them: one interface, with one adapter for Elasticsearch and one for DuckDB over files."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from logging_lib.store.port import IndexResult, QueryNotSupported, SearchError, Store, StoreError

if TYPE_CHECKING:
    from logging_lib.store.connection import Connection, ConnectionSettings, ElasticsearchError, read_settings
    from logging_lib.store.duckdb.store import EmbeddedStore
    from logging_lib.store.elasticsearch import ElasticsearchStore

__all__ = [
    "Connection",
    "ConnectionSettings",
    "ElasticsearchError",
    "ElasticsearchStore",
    "EmbeddedStore",
    "IndexResult",
    "QueryNotSupported",
    "SearchError",
    "Store",
    "StoreError",
    "read_settings",
]

_LAZY = {
    "Connection": "logging_lib.store.connection",
    "ConnectionSettings": "logging_lib.store.connection",
    "ElasticsearchError": "logging_lib.store.connection",
    "ElasticsearchStore": "logging_lib.store.elasticsearch",
    "EmbeddedStore": "logging_lib.store.duckdb.store",
    "read_settings": "logging_lib.store.connection",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:  # it needs a client or a database, so it is imported on first use
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
