"""Run unit tests of watches: described streams of events, and what a watch must find in them."""
