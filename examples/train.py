"""Train the model of the examples, and fit the profile of the rows that it was trained on.

    python train.py

Writes ``build/model.json``, ``build/profile.json`` and ``build/applications.csv``: loans that were applied for
later, which the batch job scores. The data are generated, the same ones each time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from model import CATEGORIES, Model, terms

from logging_lib import profile
from logging_lib.profile.config import Config


def loans(rows: int, start: str, seed: int) -> pd.DataFrame:
    """Loans with the interest rate that was agreed on; shape (rows, 7)."""
    random = np.random.default_rng(seed)
    ranks = ["junior", "senior", "lead", "chief", "night", "head", "deputy", "interim", "regional"]
    jobs = ["nurse", "teacher", "truck driver", "cook", "accountant", "engineer", "clerk", "sales manager"]
    places = ["", " north", " south"]
    income = np.round(random.lognormal(11, 0.4, rows), -2)
    term = random.choice([36, 60], rows, p=[0.7, 0.3])
    rate = 24 - 1.2 * np.log(income) + 0.06 * (term - 36) + random.normal(0, 0.8, rows)
    return pd.DataFrame(
        {
            "issued_at": pd.date_range(start, periods=rows, freq="20min", tz="UTC"),
            "annual_income": np.where(random.random(rows) < 0.02, np.nan, income),
            "term": term,
            "homeownership": random.choice(["RENT", "MORTGAGE", "OWN"], rows, p=[0.4, 0.45, 0.15]),
            "purpose": random.choice(["car", "house", "credit_card", "medical"], rows),
            "emp_title": [
                f"{random.choice(ranks)} {random.choice(jobs)}{random.choice(places)}" for _ in range(rows)
            ],
            "interest_rate": np.round(rate, 2),
        }
    )


def fit(train: pd.DataFrame) -> Model:
    """Least squares over the terms of each row, a missing number replaced by its mean."""
    table = pd.DataFrame([terms(row) for row in train.to_dict("records")])
    means = table[["log(annual_income)", "term"]].mean()
    table = table.fillna(means).fillna(0.0)
    found, *_ = np.linalg.lstsq(table.to_numpy(), train["interest_rate"].to_numpy(), rcond=None)
    weights = pd.Series(found, table.columns)
    for name in CATEGORIES:  # relative to the average loan, so that an unknown value is an average one
        values = [term for term in table if term.startswith(f"{name}=")]
        average = (weights[values] * table[values].mean()).sum()
        weights[values] -= average
        weights["(intercept)"] += average
    return Model(weights.to_dict(), means.to_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model of the examples and fit its profile.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build"))
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)

    train = loans(3000, "2026-01-01", seed=1)
    model = fit(train)
    model.save(folder / "model.json")

    fitted = profile.fit(
        train.assign(predicted=[model.predict(row) for row in train.to_dict("records")]),
        model="loans",
        version="3",
        target="interest_rate",
        prediction="predicted",
        config=Config(time="issued_at"),
    )
    profile.save(fitted, folder / "profile.json")

    later = loans(500, "2026-03-01", seed=2).drop(columns="interest_rate")
    later.insert(0, "loan_id", [f"loan-{n}" for n in range(len(later))])
    later.to_csv(folder / "applications.csv", index=False)
    print(f"{folder}: model.json, profile.json ({fitted.id}), applications.csv")


if __name__ == "__main__":
    main()
