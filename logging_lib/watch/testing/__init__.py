"""Run unit tests of watches: descriptions of event streams, and the findings that a watch must have in them."""
