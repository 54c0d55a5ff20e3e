"""What the peers say to the same windows; each file runs in an environment of its own."""
