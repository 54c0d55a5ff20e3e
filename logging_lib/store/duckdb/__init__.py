"""The embedded store: answer Elasticsearch's search language over files, using DuckDB."""
