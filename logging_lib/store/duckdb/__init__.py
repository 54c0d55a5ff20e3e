"""The embedded store: Elasticsearch's search language over files, by DuckDB. A search is read, then evaluated."""
