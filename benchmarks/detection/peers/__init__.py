"""The peers' verdicts on the same windows; each file runs in its own environment."""
