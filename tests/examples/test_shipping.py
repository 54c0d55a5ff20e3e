"""The configurations for shipping: whole files that their readers' parsers, and our own command, accept."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from logging_lib.cli.app import app
from tests.examples.conftest import EXAMPLES, ROOT

SHIPPING = EXAMPLES / "shipping"
SPOOL = "/var/spool/ml"


def shipped_from(command: list[str]) -> str:
    """The spool that a ``logging-lib ship`` command reads; the command's own parser refuses a wrong one."""
    assert Path(command[0]).name == "logging-lib"
    ship = typer.main.get_command(app).commands[command[1]]  # type: ignore[attr-defined]
    given = ship.make_context(command[1], command[2:]).params
    assert given["to"] == "beats+tls://logstash:5044"
    assert given["ca"] is not None
    return str(given["spool"])


def document(name: str) -> Any:
    return yaml.safe_load((SHIPPING / name).read_text("utf-8"))


def test_the_unit_of_systemd(tmp_path: Path) -> None:
    text = (SHIPPING / "logging-lib-ship.service").read_text("utf-8")
    unit = ConfigParser()
    unit.read_string(text)
    command = unit["Service"]["ExecStart"]
    assert shipped_from(shlex.split(command)) == SPOOL == unit["Service"]["ReadWritePaths"]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: the unit was read, not verified")
    copy = tmp_path / "logging-lib-ship.service"
    copy.write_text(text.replace(command.split()[0], "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert str(copy) not in done.stderr
    assert copy.name not in done.stderr, done.stderr


def test_the_sidecar_shares_the_services_spool() -> None:
    deployment = document("kubernetes.yaml")
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    template = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    pod = template["spec"]
    (sidecar,), (service,) = pod["initContainers"], pod["containers"]
    assert sidecar["restartPolicy"] == "Always"  # what makes an init container a sidecar
    assert shipped_from(sidecar["command"]) == SPOOL
    for container in (sidecar, service):
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["spool"] == SPOOL
        assert set(mounts) <= {volume["name"] for volume in pod["volumes"]}
    assert service["env"] == [{"name": "SPOOL", "value": SPOOL}]


def test_filebeat_reads_short_segments_too() -> None:
    configuration = document("filebeat.yml")
    (given,) = configuration["filebeat.inputs"]
    assert given["paths"] == [f"{SPOOL}/*.jsonl"]
    assert "file_identity.path" in given
    assert given["prospector.scanner.fingerprint.enabled"] is False
    assert given["parsers"] == [{"ndjson": {"target": "", "overwrite_keys": True, "add_error_key": True}}]
    assert configuration["output.logstash"]["hosts"] == ["logstash:5044"]


def test_fluent_bit_drops_nothing() -> None:
    configuration = document("fluent-bit.yaml")
    (given,), (output,) = configuration["pipeline"]["inputs"], configuration["pipeline"]["outputs"]
    assert given["path"] == f"{SPOOL}/*.jsonl"
    assert given["parser"] in {parser["name"] for parser in configuration["parsers"]}
    assert given["read_from_head"] is True
    assert output["match"] == given["tag"]
    assert output["retry_limit"] == "no_limits"
    if (command := shutil.which("fluent-bit")) is not None:
        done = subprocess.run(
            [command, "--dry-run", "-c", str(SHIPPING / "fluent-bit.yaml")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_fluentd_has_its_sections_closed() -> None:
    sections: list[str] = []
    found: dict[str, dict[str, str]] = {}
    for line in (SHIPPING / "fluentd.conf").read_text("utf-8").splitlines():
        text = line.split("#")[0].strip()
        if end := re.fullmatch(r"</(\w+)>", text):
            assert sections.pop() == end[1]
        elif begin := re.fullmatch(r"<(\w+)(?: (\w+))?>", text):
            sections.append(begin[1])
            found["/".join(sections)] = {"": begin[2] or ""}
        elif text:
            name, value = text.split(maxsplit=1)
            found["/".join(sections)][name] = value
    assert sections == []
    assert found["source"]["path"] == f"{SPOOL}/*.jsonl"
    assert found["source"]["read_from_head"] == "true"
    assert found["match"][""] == found["source"]["tag"]
    assert found["match/buffer"]["retry_forever"] == "true"
    assert set(found) == {"source", "source/parse", "match", "match/format", "match/buffer"}
    if (command := shutil.which("fluentd")) is not None:
        done = subprocess.run(
            [command, "--dry-run", "-c", str(SHIPPING / "fluentd.conf")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_the_page_names_every_file() -> None:
    page = (ROOT / "docs" / "shipping.md").read_text("utf-8")
    assert all(f"../examples/shipping/{file.name})" in page for file in SHIPPING.iterdir())
