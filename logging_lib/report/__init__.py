"""The report: one page about a model and a period."""
