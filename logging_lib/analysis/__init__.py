"""Statistics for people: compare samples, find skew, evaluate quality and shadow models, score the monitoring."""

from logging_lib.analysis.comparison import compare
from logging_lib.analysis.results import Bins, Comparison, Effect, Test, Variable

__all__ = ["Bins", "Comparison", "Effect", "Test", "Variable", "compare"]
