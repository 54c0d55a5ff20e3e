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
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text("utf-8")
OURS = [name for name, service in SERVICES.items() if service["image"] == "logging-lib:local"]


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


def test_every_part_has_limits_and_what_stays_up_a_health_check() -> None:
    for name, service in SERVICES.items():
        assert {"mem_limit", "cpus", "pids_limit"} <= set(service), name
        if "restart" in service and name != "watch-runner":
            assert "healthcheck" in service, name


def test_every_image_is_pinned() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":(\$\{STACK_VERSION.*\}|v?\d+\.\d+\.\d+|local)\Z", service["image"]), name
    assert re.fullmatch(r"\d+\.\d+\.\d+", example()["STACK_VERSION"])
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-slim$", DOCKERFILE, re.MULTILINE)


def test_no_part_is_root_or_has_a_capability_or_writes_to_its_image() -> None:
    for name, service in SERVICES.items():
        assert service["user"] == "1000:0", name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert "privileged" not in service, name
        assert all("size=" in mount for mount in service["tmpfs"]), name
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)[-1] == "ml"


def test_what_our_image_writes_to_belongs_to_its_user() -> None:
    """A new volume takes its owner from the image's folder, and no part may change that."""
    (owned,) = re.findall(
        r"install -d -o ml -g 0 -m 0750 (.*)$", DOCKERFILE.replace("\\\n", " "), re.MULTILINE
    )
    for name in OURS:
        for source, target, *mode in mounts(name):
            if not source.startswith(".") and not mode:
                assert target in owned.split(), f"{name}: {target}"


def test_each_part_mounts_only_its_own_secrets() -> None:
    users: dict[str, list[str]] = {}
    for name in SERVICES:
        for source, _, *mode in mounts(name):
            users.setdefault(source, []).append(name)
            if source.startswith("certs-") and name != "certificates":
                assert mode == ["ro"], f"{name}: {source}"
    assert users["authority"] == ["certificates"]
    for name in ("elasticsearch", "kibana", "logstash", "mail"):
        assert users[f"certs-{name}"] == ["certificates", name]
    for name in ("logstash", "watch-runner"):
        assert users[f"key-{name}"] == ["deploy", name]
    assert len(COMPOSE["volumes"]) == len([source for source in users if not source.startswith(".")])


def mounts(name: str) -> list[list[str]]:
    return [volume.split(":") for volume in SERVICES[name].get("volumes", ())]


def test_each_certificate_that_a_part_names_is_in_what_it_mounts(certificates: Path) -> None:
    for name, service in SERVICES.items():
        if name == "certificates":
            continue
        texts = [*service.get("environment", {}).values(), *service.get("command", ())]
        texts += [*service.get("entrypoint", ()), *service.get("healthcheck", {}).get("test", ())]
        texts += [
            (ROOT / source).read_text() for source, target, *_ in mounts(name) if target.endswith(".sh")
        ]
        named = {file for text in texts for file in re.findall(r"certs/([\w./-]+)", str(text))}
        folders = [certificates / source[6:] for source, *_ in mounts(name) if source.startswith("certs-")]
        assert len(folders) == bool(named), name
        for file in named:
            assert (folders[0] / file).is_file(), f"{name}: {file}"


def test_every_mounted_file_is_there_and_every_variable_has_an_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], (
                volume
            )
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert used - set(example()) == {"LOGGING_LIB_SLACK_WEBHOOK", "ML_ALIASES"}  # optional: the user's own
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
    folder = tmp_path_factory.mktemp("certs")
    make_certificates(folder)
    return folder


def test_the_certificates_are_for_each_part_by_name(certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "clients/ca.crt"))
    for name in ("elasticsearch", "kibana", "logstash", "mail"):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificates / name / f"{name}.crt", certificates / name / f"{name}.key")
        assert handshake(server, context, name) == ""
        assert "Hostname mismatch" in handshake(server, context, "elsewhere")
    assert (certificates / "logstash/logstash.key").read_text().startswith("-----BEGIN PRIVATE KEY-----")
    keys = list(certificates.rglob("*.key"))
    assert len(keys) == 5
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)
    assert [path.name for path in (certificates / "clients").iterdir()] == ["ca.crt"]


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
    before = contents(certificates)
    make_certificates(certificates)
    assert contents(certificates) == before


def test_certificates_of_a_lost_authority_or_a_start_that_was_cut_off_are_made_anew(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "mail/ca.crt").unlink()
    make_certificates(tmp_path)
    assert {path for path, text in contents(tmp_path).items() if text != before[path]} == {
        tmp_path / "mail/mail.crt"
    }
    shutil.rmtree(tmp_path / "authority")
    make_certificates(tmp_path)
    assert not set(contents(tmp_path).values()) & set(before.values())
    context = ssl.create_default_context(cafile=str(tmp_path / "clients/ca.crt"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "kibana/kibana.crt", tmp_path / "kibana/kibana.key")
    assert handshake(server, context, "kibana") == ""


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*.crt")}


def make_certificates(folder: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("NO CERTIFICATES OF THE COMPOSE FILE WERE TESTED: openssl is not installed")
    subprocess.run(["sh", ROOT / "docker/certificates.sh", folder], check=True, capture_output=True)


def test_the_scripts_have_no_syntax_error() -> None:
    for script in sorted((ROOT / "docker").glob("*.sh")):
        shell = script.read_text().splitlines()[0].rpartition("/")[2]
        subprocess.run([shell, "-n", script], check=True)
    for name in ("elasticsearch", "deploy", "logstash", "watch-runner"):
        shell, how, text = SERVICES[name]["entrypoint"]
        subprocess.run([shell, how.replace("e", "n"), text.replace("$$", "$")], check=True)


def test_every_option_of_our_commands_exists() -> None:
    commands = [SERVICES[name]["command"] for name in ("demo", "dashboards")]
    deploys = SERVICES["deploy"]["entrypoint"][-1].splitlines()
    assert len(deploys) == 2
    commands += [line.removeprefix("logging-lib ").split() for line in deploys]
    for command in commands:
        words = [str(word) for word in command]
        group = words[: 1 if words[0] == "demo-service" else 2]
        help_text = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert help_text.exit_code == 0, help_text.output
        for option in (word for word in words if word.startswith("--")):
            assert option in help_text.output, f"{group}: {option}"


def test_the_demo_service_predicts_and_ships_over_tls(certificates: Path, tmp_path: Path) -> None:
    command = SERVICES["demo"]["command"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "logstash/logstash.crt", certificates / "logstash/logstash.key")
    with BeatsSink(tls=context) as sink:
        url = command[3].replace("logstash:5044", f"localhost:{sink.port}")
        url = url.replace("/certs", str(certificates / "clients"))
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
