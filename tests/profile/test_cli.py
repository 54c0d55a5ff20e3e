"""``logging-lib profile`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from logging_lib import profile as profiles
from logging_lib.cli.app import app

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


def test_json_lines_tell_absent_from_missing(tmp_path: Path) -> None:
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
