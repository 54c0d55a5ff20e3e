"""Evaluates one watch: what its searches, scripts and conditions say. Pure but for its dependencies."""
