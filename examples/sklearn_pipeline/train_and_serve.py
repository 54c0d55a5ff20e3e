"""A scikit-learn pipeline: trained, profiled on the raw columns that it is given, served with every input logged.

    python -m sklearn_pipeline.train_and_serve build/sklearn

The profile is of what goes *into* the pipeline, before imputing and encoding: that is what a service receives, and
where mistakes upstream show.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import joblib
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from train import loans

import logging_lib
from logging_lib import profile
from logging_lib.profile.config import Config

NUMBERS, CATEGORIES, TEXT = ["annual_income", "term"], ["homeownership", "purpose"], "emp_title"
FEATURES = [*NUMBERS, *CATEGORIES, TEXT]


def pipeline() -> Pipeline:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (numbers, NUMBERS), (OneHotEncoder(handle_unknown="ignore"), CATEGORIES), (TfidfVectorizer(), TEXT)
    )
    return make_pipeline(columns, Ridge())


def train(folder: Path) -> None:
    """Leaves ``model.joblib`` and ``profile.json``, which belong together."""
    rows = loans(2000, "2018-01-01", seed=1)
    model = pipeline().fit(rows[FEATURES], rows["interest_rate"])
    seen = rows[[*FEATURES, "issued_at", "interest_rate"]].assign(output=model.predict(rows[FEATURES]))
    fitted = profile.fit(
        seen, model="loans", version="sk-1", target="interest_rate", prediction="output",
        config=Config(time="issued_at"),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    profile.save(fitted, folder / "profile.json")


def serve(folder: Path) -> None:
    """One request with a category that training never had, then a batch."""
    model = joblib.load(folder / "model.joblib")
    log = logging_lib.configure(
        model="loans", version="sk-1", profile=folder / "profile.json", spool=folder / "spool"
    )
    rows = loans(200, "2018-02-01", seed=2)[FEATURES]
    one = rows.head(1).assign(homeownership="Mortgage")
    with log.prediction(one.to_dict("records")[0], request_id="r-1") as p:
        p.prediction = float(model.predict(one)[0])
    log.predictions(rows, model.predict(rows), request_ids=[f"b-{number}" for number in range(len(rows))])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    train(given.folder)
    serve(given.folder)
