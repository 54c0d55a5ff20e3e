"""Store events and search them: one port, with an adapter for Elasticsearch and one for DuckDB over files."""

from logging_lib.store.port import IndexResult, QueryNotSupported, SearchError, Store, StoreError

__all__ = ["IndexResult", "QueryNotSupported", "SearchError", "Store", "StoreError"]
