"""The demo's model: interest rate from a loan's application, by ridge regression."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from logging_lib.demo.loans import CATEGORY, NUMERIC, TEXT


def _no_gaps(texts: pd.Series) -> pd.Series:
    return texts.fillna("").astype(str)


def train(rows: pd.DataFrame, target: pd.Series) -> Any:
    """Fit the pipeline; its ``predict`` takes a DataFrame of inputs, shape (rows, features)."""
    columns = ColumnTransformer(
        [
            ("numeric", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), list(NUMERIC)),
            ("category", OneHotEncoder(handle_unknown="ignore"), list(CATEGORY)),
            ("text", make_pipeline(FunctionTransformer(_no_gaps), TfidfVectorizer(min_df=2)), TEXT),
        ]
    )
    return make_pipeline(columns, Ridge(alpha=3.0)).fit(rows, target)
