"""What can be known of a watch before it runs: whether it can be read, and what would go wrong."""
