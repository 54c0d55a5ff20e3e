"""The model of the examples: small enough to need no library, so that the services stay light."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CATEGORIES = ("homeownership", "purpose")


def terms(inputs: Mapping[str, Any]) -> dict[str, float]:
    """What the weights are multiplied with: numbers where they are given, and 1 for each category's value.

    Raises:
        ValueError: an income that has no logarithm.
        TypeError: a text in the place of a number.
    """
    found = {"(intercept)": 1.0}
    income, months = inputs.get("annual_income"), inputs.get("term")
    if income is not None and income == income:  # neither null nor NaN
        found["log(annual_income)"] = math.log(income)
    if months is not None and months == months:
        found["term"] = float(months)
    return found | {f"{name}={inputs[name]}": 1.0 for name in CATEGORIES if name in inputs}


class Model:
    """A linear model of the interest rate.

    Args:
        weights: by term, see ``terms``; a value that training did not have counts as an average one.
        means: of the numbers in training, for where one is missing.
    """

    def __init__(self, weights: Mapping[str, float], means: Mapping[str, float]) -> None:
        self.weights = weights
        self.means = means

    @classmethod
    def load(cls, file: Path) -> Model:
        return cls(**json.loads(file.read_text("utf-8")))

    def save(self, file: Path) -> None:
        file.write_text(json.dumps({"weights": self.weights, "means": self.means}, indent=1) + "\n", "utf-8")

    def predict(self, inputs: Mapping[str, Any]) -> float:
        """The interest rate of one loan, in percent a year."""
        found = {**self.means, **terms(inputs)}
        return sum(self.weights.get(name, 0.0) * value for name, value in found.items())
