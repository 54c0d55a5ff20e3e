"""Answer the search language over files by DuckDB: the embedded store."""
