"""docker-compose.yml: valid, private, and made of commands that run. There is no Docker engine in the suite."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from logging_lib.cli.app import app
from tests.ship.conftest import python
from tests.ship.receivers import BeatsSink

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
TOOLS = ("deploy", "demo")


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_it_is_a_compose_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, "docker-compose.yml"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_port_is_on_the_loopback_interface() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) >= 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_part_has_a_memory_limit_and_what_stays_up_a_health_check() -> None:
    for name, service in SERVICES.items():
        assert "mem_limit" in service, name
        if "restart" in service and name != "watch-runner":
            assert "healthcheck" in service, name


def test_every_image_is_pinned() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":(\$\{STACK_VERSION.*\}|v?[0-9][0-9.]*|local)\Z", service["image"]), name


def test_every_mounted_file_is_there_and_every_variable_has_an_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], (
                volume
            )
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert used - set(example()) == {"LOGGING_LIB_SLACK_WEBHOOK"}  # optional: the user's own
    assert set(example()) - used == set()


def test_no_secret_is_committed() -> None:
    secrets = {name for name, value in example().items() if value == "CHANGE_ME"}
    assert secrets == {name for name in example() if re.search("PASSWORD|KEY", name)}
    ignored = (ROOT / ".gitignore").read_text("utf-8").split()
    assert {".env", "keys/"} <= set(ignored)


def test_the_set_up_makes_passwords_once(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    shutil.copy(ROOT / "docker/make-env.sh", tmp_path / "docker")
    shutil.copy(ROOT / ".env.example", tmp_path)
    made = []
    for _ in range(2):
        subprocess.run(["sh", "docker/make-env.sh"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
        made.append((tmp_path / ".env").read_text("utf-8"))
    assert made[0] == made[1]
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    values = re.findall(r"^(?:\w*PASSWORD|\w*KEY)=(.*)$", made[0], re.MULTILINE)
    assert len(set(values)) == len(values) == 3
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in values)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("NO CERTIFICATES OF THE COMPOSE FILE WERE TESTED: openssl is not installed")
    folder = tmp_path_factory.mktemp("certs")
    subprocess.run(["sh", ROOT / "docker/certificates.sh", folder], check=True, capture_output=True)
    return folder


def test_the_certificates_are_for_each_part_by_name(certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca/ca.crt"))
    for name in ("elasticsearch", "kibana", "logstash", "mail"):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificates / name / f"{name}.crt", certificates / name / f"{name}.key")
        assert handshake(server, context, name) == ""
        assert "Hostname mismatch" in handshake(server, context, "elsewhere")
    assert (certificates / "logstash/logstash.key").read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert (certificates / "ca/ca.key").stat().st_mode & 0o077 == 0


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """What the client finds wrong."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = Thread(target=answer)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    except ssl.SSLError as error:
        return str(error)
    finally:
        ours.close()
        thread.join()
    return ""


def test_certificates_that_are_there_stay(certificates: Path) -> None:
    before = {path: path.read_bytes() for path in certificates.rglob("*.crt")}
    subprocess.run(["sh", ROOT / "docker/certificates.sh", certificates], check=True, capture_output=True)
    assert {path: path.read_bytes() for path in certificates.rglob("*.crt")} == before


def test_the_scripts_have_no_syntax_error() -> None:
    for script in sorted((ROOT / "docker").glob("*.sh")):
        shell = script.read_text().splitlines()[0].rpartition("/")[2]
        subprocess.run([shell, "-n", script], check=True)
    for name in ("logstash", "watch-runner"):
        shell, how, text = SERVICES[name]["entrypoint"]
        subprocess.run([shell, how.replace("e", "n"), text.replace("$$", "$")], check=True)


def test_every_option_of_our_commands_exists() -> None:
    for name in TOOLS:
        words = [str(word) for word in SERVICES[name]["command"]]
        group = words[: 2 if words[0] == "stack" else 1]
        help_text = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert help_text.exit_code == 0, help_text.output
        for option in (word for word in words if word.startswith("--")):
            assert option in help_text.output, f"{name}: {option}"


def test_the_demo_service_predicts_and_ships_over_tls(certificates: Path, tmp_path: Path) -> None:
    command = SERVICES["demo"]["command"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "logstash/logstash.crt", certificates / "logstash/logstash.key")
    with BeatsSink(tls=context) as sink:
        url = (
            command[3].replace("logstash:5044", f"localhost:{sink.port}").replace("/certs", str(certificates))
        )
        process = python(
            "from logging_lib.cli import main; main()",
            *(command[0], tmp_path, "--to", url, "--rate", 200, "--limit", 100),
            stdout=subprocess.PIPE,
        )
        output = process.communicate(timeout=1000)[0].decode()
        assert process.returncode == 0
    assert "100 predictions logged" in output
    events = [event["event"]["dataset"] for event in sink.events]
    assert events.count("ml.prediction") == 100
    assert events.count("ml.start") == 1
    assert (tmp_path / "profile.json").exists()
