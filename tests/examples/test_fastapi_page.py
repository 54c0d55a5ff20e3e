"""``docs/fastapi.md``, followed from its first line to its last as a reader would."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from tests.examples.conftest import ROOT, environment, serving
from tests.pages import blocks
from tests.ports import free_port
from tests.ship.receivers import BeatsSink


def contained(part: Any, whole: Any) -> bool:
    """Whether everything in ``part`` stands in ``whole``, which may hold more keys."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contained(value, whole[key]) for key, value in part.items()
        )
    return bool(part == whole)


def test_the_page_leads_to_shipped_events(
    tmp_path: Path, valid: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    rows = 300
    pd.DataFrame(
        {
            "annual_income": [30_000.0 + i * 200 for i in range(rows)],
            "homeownership": ["RENT", "OWN", "MORTGAGE"] * (rows // 3),
            "interest_rate": [8.0 + i / 20 for i in range(rows)],
            "issued_at": pd.date_range("2026-01-01", periods=rows, freq="h"),
        }
    ).to_csv(tmp_path / "train.csv", index=False)
    port = free_port()
    variables = environment(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    shown: dict[str, Any] = {}
    output = ""

    with BeatsSink() as sink, contextlib.ExitStack() as running:
        for block in blocks(ROOT / "docs" / "fastapi.md"):
            kind, text = block.kind, block.text.replace(":8000", f":{port}").replace(":5044", f":{sink.port}")
            if kind == "python":
                (tmp_path / text.split()[1]).write_text(text)
                continue
            if kind == "json":
                shown = json.loads(text)
                event = valid(json.loads(output.splitlines()[-1]))
                assert contained(shown, event), event
                continue
            for line in text.splitlines():
                words = shlex.split(line, comments=True)
                if words[0] == "uvicorn":
                    command = shlex.join(words).replace("8000", str(port))
                    running.enter_context(serving(command, port, tmp_path, cwd=tmp_path))
                elif words[:2] == ["logging-lib", "ship"] and "--to" in words:
                    shipper = subprocess.Popen(words, cwd=tmp_path, env=variables, stderr=subprocess.DEVNULL)
                    sink.wait_for(2)
                    shipper.send_signal(signal.SIGTERM)
                    assert shipper.wait(300) == 0
                elif words[0] != "pip":
                    done = subprocess.run(
                        ["bash", "-ec", line],
                        cwd=tmp_path,
                        env=variables,
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    assert done.returncode == 0, line + done.stdout + done.stderr
                    output = done.stdout
        assert shown
        assert "waiting    0 events" in output  # what --status said last
        predictions = [event for event in sink.events if event["event"]["dataset"] == "ml.prediction"]
        assert [event["ml"]["request"]["id"] for event in predictions] == ["r-1", "r-2"]
