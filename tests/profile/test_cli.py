"""``logging-lib profile`` as a user runs it."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.logger.checks import Checker

run = CliRunner().invoke


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_every_format_gives_the_same_expectations(
    tmp_path: Path, training: pd.DataFrame, suffix: str
) -> None:
    data, output = tmp_path / f"train.{suffix}", tmp_path / "profile.json"
    if suffix == "csv":
        training.to_csv(data, index=False)
    elif suffix == "parquet":
        training.to_parquet(data)
    else:
        training.to_json(data, orient="records", lines=True, date_format="iso")
    command = f"profile fit {data} --model loans --version 1 --prediction rate --time issued_at -o {output}"
    result = run(app, command.split())
    assert result.exit_code == 0, result.output
    profile = profiles.load(output)
    assert {name: f.kind for name, f in profile.features.items()} == {
        "income": "numeric", "count": "numeric", "home": "category", "title": "text", "joint": "boolean",
        "opened": "date",
    }  # fmt: skip
    last = training.tail(400)
    assert profile.features["income"].expected["missing"].count == int(last["income"].isna().sum())
    assert profile.features["title"].special["!missing"] == int(training["title"].isna().sum())


def test_json_lines_distinguish_absent_from_missing(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": "x"}, {"a": None}, {"a": 2, "b": None}, {"b": "y"}] * 50
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run(app, ["profile", "fit", str(tmp_path / "t.jsonl"), "--model", "m", "--version", "1",
                       "-o", str(tmp_path / "p.json")])  # fmt: skip
    assert result.exit_code == 0, result.output
    profile = profiles.load(tmp_path / "p.json")
    assert profile.features["a"].special == {"!missing": 50, "!absent": 50}
    assert profile.features["b"].special == {"!missing": 50, "!absent": 50}
    assert profile.features["b"].expected["absent"].count > 0


def test_show_prints_each_feature(
    tmp_path: Path, profile: profiles.Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    profiles.save(profile, tmp_path / "p.json")
    table = run(app, ["profile", "show", str(tmp_path / "p.json")])
    assert table.exit_code == 0
    for name in (*profile.features, "MORTGAGE", "missing", profile.id):
        assert name in table.output
    as_json = run(app, ["profile", "show", "--json", str(tmp_path / "p.json")])
    assert json.loads(as_json.output)["id"] == profile.id


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.xyz", "a\n1\n", "unknown format; give a .csv, .parquet or .jsonl file"),
        ("t.csv", "", "the file is empty"),
        ("t.csv", "a,b\n", "have no rows"),
        ("t.parquet", "nonsense", "cannot be read as .parquet"),
        ("t.jsonl", '{"a": 1}\n{"a": \n', "line 2: not JSON"),
        ("t.jsonl", "[1]\n", "line 1: expected an object, found list"),
    ],
)
def test_a_bad_file_is_named_without_a_traceback(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    result = run(app, ["profile", "fit", str(tmp_path / name), "--model", "m", "--version", "1"])
    assert result.exit_code == 2
    assert says in result.stderr
    assert name in result.stderr
    assert "Traceback" not in result.stderr


def test_a_configured_category_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("zip,flag\n" + "02139,TRUE\n10001,FALSE\n" * 50)
    (tmp_path / "c.yml").write_text("features: {zip: {kind: category}, flag: {kind: category}}")
    command = (
        f"profile fit {tmp_path}/t.csv --model m --version 1 --config {tmp_path}/c.yml -o {tmp_path}/p.json"
    )
    assert run(app, command.split()).exit_code == 0
    profile = profiles.load(tmp_path / "p.json")
    assert set(profile.features["zip"].values) == {"02139", "10001"}
    assert set(profile.features["flag"].values) == {"TRUE", "FALSE"}


HOSTILE = "\x1b[31mRED\x1b]0;PWNED\x07\nBcc: x@y.org\r\x9b5m\u202e[bold]"


def test_nothing_of_a_profile_acts_on_a_terminal(tmp_path: Path) -> None:
    data, out = tmp_path / "train.csv", tmp_path / "profile.json"
    frame = pd.DataFrame({HOSTILE: [1.0, 2.0] * 50, "home": [HOSTILE, "b"] * 50, "empty": [None] * 100})
    frame.to_csv(data, index=False)
    arguments = ["--model", HOSTILE, "--version", HOSTILE, "--trained-at", "2026-01-01", "-o", str(out)]
    outputs = [run(app, ["profile", "fit", str(data), *arguments])]
    outputs += [run(app, ["profile", "show", str(out)])]
    for result in outputs:
        assert result.exit_code == 0, result.output
        assert "RED" in result.output
        assert not set(result.output) & {"\x1b", "\x07", "\r", "\x9b", "\u202e"}
        assert not any(line.startswith("Bcc:") for line in result.output.splitlines())
    assert "[bold]" in outputs[1].output.replace("\n", "")


def fit(path: Path, *options: str, code: int = 0) -> str:
    """Fit a profile of the model m, version 1, beside its data, and return what was printed."""
    out = str(path.with_suffix(".json"))
    result = run(app, ["profile", "fit", str(path), "--model", "m", "--version", "1", "-o", out, *options])
    assert result.exit_code == code, result.output
    return result.output


# ── files that are not what they seem ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "separator"), [(";", "semicolons"), ("\t", "tabs"), ("|", "pipes")])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv"])
def test_a_file_of_any_separator_is_read_and_the_separator_is_named(
    tmp_path: Path, name: str, separator: str, suffix: str
) -> None:
    rows = [f"{i % 97}{name}{i % 60}{name}a, b {i % 3}" for i in range(400)]
    text = "\n".join([name.join(("amount", "age", "note")), *rows]).encode()
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    output = fit(path)
    assert f"separated by {separator}" in output
    profile = profiles.load(path.with_suffix(".json"))
    assert {n: f.kind for n, f in profile.features.items()} == {
        "amount": "numeric", "age": "numeric", "note": "category",
    }  # fmt: skip


def test_decimal_commas_of_a_file_with_semicolons_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("amount;age\n" + "\n".join(f"{i % 97},5;{i % 60}" for i in range(400)))
    assert "decimal comma, as usual with semicolons: amount" in fit(tmp_path / "t.csv")
    assert profiles.load(tmp_path / "t.json").features["amount"].range == (0.5, 96.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a;b\n1;2\n1;2;3\n1\n", "semicolons seem to separate its columns"),
        ("a b c\n1 2 3\n4 5 6\n", "spaces seem to separate its columns"),
    ],
)
def test_a_file_whose_separator_is_not_found_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    output = fit(tmp_path / "t.csv", code=2)
    assert says in output
    assert not (tmp_path / "t.json").exists()


@pytest.mark.parametrize(
    "text",
    [
        "id,tags\n1,a;b\n2,c;d\n",  # semicolons within values
        "total amount\n12\n13\n",  # a name of two words
        "comment\nhello there\nbye\n",
        'a,"b;c"\n1,"x;y"\n',
    ],
)
def test_commas_and_a_single_column_are_read_as_before(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert "separated" not in fit(tmp_path / "t.csv")
    assert list(profiles.load(tmp_path / "t.json").features) == next(csv.reader([text.splitlines()[0]]))


# ── columns that are not what they seem ──────────────────────────────────────────────────────────────────


def test_notes_are_in_order_of_importance_and_a_draft_can_be_fitted_with(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = ["order_id,requested_at,price,salary,zip,const"]
    for i in range(600):
        price = "?" if i % 15 == 0 else f"{i * 7919 % 1000 / 10}"
        moment = (start + timedelta(minutes=9 * i)).isoformat()
        rows.append(f'{1000 + i},{moment},{price},"{1 + i % 7},{i % 900 + 100}",{i * 613 % 97:05d},1')
    (tmp_path / "t.csv").write_text("\n".join(rows))
    output = fit(tmp_path / "t.csv", "--suggest-config", str(tmp_path / "draft.yml"))
    looked_at = output.partition("Check these, the most important first:\n")[2].splitlines()
    assert [line.split()[1] for line in looked_at if line[:2].strip().isdecimal()] == [
        "order_id", "requested_at", "price", "salary", "zip", "const",
    ]  # fmt: skip
    assert "which reads it as 9900" in output
    assert "'00000'" in output
    draft = (tmp_path / "draft.yml").read_text()
    assert 'time: "requested_at"' in draft
    assert '  - "order_id"' in draft
    assert '#   "salary": {kind: numeric}' in draft
    again = fit(tmp_path / "t.csv", "--config", str(tmp_path / "draft.yml"))
    assert "order_id" not in again
    profile = profiles.load(tmp_path / "t.json")
    assert list(profile.features) == ["price", "salary", "zip", "const"]
    assert "?" in profile.na_values
    as_json = json.loads(fit(tmp_path / "t.csv", "--json"))
    assert [entry["columns"] for entry in as_json["look_at"]][:2] == [["order_id"], ["requested_at"]]
    assert as_json["notes"]["price"][0].startswith("has '?' in 6.7 % of the rows")


def test_a_category_of_integers_with_missing_ones_is_looked_up_as_it_is_served(tmp_path: Path) -> None:
    frame = pd.DataFrame({"code": [10.0, None, 20.0] * 40, "x": range(120)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert "10.0" in (tmp_path / "t.csv").read_text()
    (tmp_path / "c.yml").write_text("features: {code: {kind: category}}")
    fit(tmp_path / "t.csv", "--config", str(tmp_path / "c.yml"))
    profile = profiles.load(tmp_path / "t.json")
    assert set(profile.features["code"].values) == {"10", "20"}
    for served in (10, 10.0, "10"):
        assert Checker(profile)({"code": served, "x": 1}).failed == {}


def test_another_models_profile_is_replaced_only_by_force(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n3,4\n" * 20)
    fit(tmp_path / "t.csv")
    fit(tmp_path / "t.csv")  # the same model version
    before = (tmp_path / "t.json").read_bytes()
    for other in (["--model", "m", "--version", "2"], ["--model", "other", "--version", "1"]):
        command = ["profile", "fit", str(tmp_path / "t.csv"), "-o", str(tmp_path / "t.json"), *other]
        result = run(app, command)
        assert result.exit_code == 2
        assert "is the profile of m 1" in result.stderr
        assert (tmp_path / "t.json").read_bytes() == before
    (tmp_path / "notes.json").write_text("{}")
    command = ["profile", "fit", str(tmp_path / "t.csv"), "--model", "m", "--version", "1", "-o"]
    result = run(app, [*command, str(tmp_path / "notes.json")])
    assert result.exit_code == 2
    assert "give --force to replace it" in result.stderr
    assert run(app, [*command, str(tmp_path / "notes.json"), "--force"]).exit_code == 0
    assert profiles.load(tmp_path / "notes.json").model == "m"
