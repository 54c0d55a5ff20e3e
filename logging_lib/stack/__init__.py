"""Puts what we need into an Elasticsearch, says what is there, takes it away again, and examines it."""
