"""Where events lie and how they are asked for: one port, two stores."""

from logging_lib.store.port import IndexResult, QueryNotSupported, SearchError, Store, StoreError

__all__ = ["IndexResult", "QueryNotSupported", "SearchError", "Store", "StoreError"]
