"""Statistics for people: compare samples, find skew, judge quality and shadow models, score the monitoring.

Pure functions over DataFrames; ``logging_lib.jobs`` reads those from a store.
"""

from logging_lib.analysis.comparison import compare
from logging_lib.analysis.results import Comparison, Effect, Test, Variable

__all__ = ["Comparison", "Effect", "Test", "Variable", "compare"]
