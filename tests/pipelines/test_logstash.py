"""The pipelines in a real Logstash, where one is on PATH: all cases, each input, Elasticsearch, its refusals."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from logging_lib.normalize import normalize
from logging_lib.ship.receivers import create_receiver
from logging_lib.ship.target import parse_target
from tests import logstash_server
from tests.elasticsearch_server import Unavailable
from tests.logstash_server import PIPELINES, wait_for
from tests.pages import blocks
from tests.pipelines.cases import FOLDER, NOW, Case, canonical, cases, expectation
from tests.ports import free_port

MICROSECONDS = int(NOW.timestamp() * 1e6)
DIFFER_IN_LOGSTASH: dict[str, str] = {}
"""The one place for cases that cannot agree in Logstash, with the reason."""


@dataclass
class Logstash:
    folder: Path
    beats: int
    tcp: int
    http: int
    seen: int = 0

    def made(self, count: int) -> list[dict[str, Any]]:
        """The next events, in the order of their arrival."""
        lines = wait_for(self.folder, self.seen + count)[self.seen :]
        assert len(lines) == count
        self.seen += count
        return [comparable(orjson.loads(line)) for line in lines]


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """``@timestamp`` is of Logstash's own type, which writes as few digits as it needs: compared as a time."""
    moment = datetime.fromisoformat(document["@timestamp"])
    return document | {"@timestamp": moment.isoformat(timespec="microseconds").replace("+00:00", "Z")}


@pytest.fixture(scope="module")
def logstash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logstash]:
    """The stages as they are shipped, but for the clock and an output to a file."""
    folder = tmp_path_factory.mktemp("logstash")
    made = Logstash(folder, free_port(), free_port(), free_port())
    stages = folder / "stages"
    stages.mkdir()
    inputs = [file for file in (PIPELINES / "inputs/tls-false").iterdir() if "user" not in file.name]
    for stage in (*inputs, *PIPELINES.glob("[2-8]*.conf")):
        text = stage.read_text()
        (stages / stage.name).write_text(
            text.replace("script_params => {", f'script_params => {{ "now" => "{MICROSECONDS}"')
        )
    (stages / "90-output-file.conf").write_text(
        f'output {{ file {{ id => "file" path => "{folder}/out.jsonl" flush_interval => 0 codec => json_lines }} }}'
    )
    ports = {"ML_BEATS_PORT": made.beats, "ML_TCP_PORT": made.tcp, "ML_HTTP_PORT": made.http}
    pipeline = {
        "pipeline.id": "ml",
        "path.config": f"{stages}/*.conf",
        "pipeline.workers": 1,
        "pipeline.ordered": True,
        "pipeline.ecs_compatibility": "v8",
    }
    try:
        with logstash_server.running(folder, [pipeline], {k: str(v) for k, v in ports.items()}):
            yield made
    except Unavailable as reason:
        pytest.skip(f"THE PIPELINES WERE NOT TESTED IN A REAL LOGSTASH: {reason}")


@pytest.mark.logstash
def test_every_case_sent_as_a_line_over_tcp(logstash: Logstash) -> None:
    sent: list[Case] = [case for case in cases() if case.raw.strip(b" \t\r\n")]  # blank lines are skipped
    with socket.create_connection(("127.0.0.1", logstash.tcp)) as connection:
        for case in sent:
            connection.sendall(case.raw.removesuffix(b"\n") + b"\n")
    wrong = {}
    for case, made in zip(sent, logstash.made(len(sent)), strict=True):
        expected = orjson.loads(case.expected_file.read_bytes())
        plain = normalize(case.raw.removesuffix(b"\n"), now=NOW).document
        if expectation(made) != expected and canonical(made) != canonical(comparable(plain)):
            wrong[case.name] = made
    assert wrong.keys() == DIFFER_IN_LOGSTASH.keys(), json.dumps(wrong)[:5000]


@pytest.mark.logstash
def test_events_of_the_shipper_over_beats_and_http(logstash: Logstash) -> None:
    ours = [(FOLDER / f"{name}.raw").read_bytes() for name in ("001-ours-prediction", "003-ours-health")]
    refused = (FOLDER / "012-ours-of-a-future-schema-is-refused.raw").read_bytes()
    foreign = b'{"model":"m","inputs":{"a":"N/A","b":"1.50"},"message":"scored","time":1517479200}'
    expected = [normalize(line, now=NOW).document for line in (*ours, foreign)]
    for url in (f"http://127.0.0.1:{logstash.http}", f"beats://127.0.0.1:{logstash.beats}"):
        receiver = create_receiver(parse_target(url))
        receiver.send([*ours, foreign, refused])
        receiver.close()
        events = logstash.made(4)
        letter = events.pop()
        assert letter["error"]["type"] == "schema_version"
        assert orjson.loads(letter["event"]["original"])["ml"]["schema_version"] == 2
        for event, wanted in zip(events, expected, strict=True):
            if event["event"]["dataset"] == "ml.prediction" and event["ml"]["profile"]["status"] == "none":
                event["event"]["id"] = wanted["event"]["id"]  # over Beats of the fields, not of the line
            assert canonical(event) == canonical(comparable(wanted)), url


@pytest.mark.logstash
def test_foreign_events_sent_as_fields_over_beats(logstash: Logstash) -> None:
    """A shipper's lines come parsed, with whatever metadata they have."""
    lines = [
        b'{"specversion":"1.0","id":"ce-0","time":"2018-02-01T10:00:00Z","inferenceservicename":"iris",'
        b'"data":{"instances":[[6.8,2.8]]}}',
        b'{"model":"m","inputs":{"a":1},"id":"m-0","time":"2018-02-01T10:00:00Z","@metadata":{"ml_input":"body"}}',
        b'{"foo":1}',
        b'{"message":"POST / 200","level":"INFO"}',
        b'{"message":""}',
    ]
    receiver = create_receiver(parse_target(f"beats://127.0.0.1:{logstash.beats}"))
    receiver.send(lines)
    receiver.close()
    iris, marked, *letters = logstash.made(4)
    assert canonical(iris) == canonical(comparable(normalize(lines[0], now=NOW).document))
    assert marked["event"]["id"] == "m-0"
    assert [letter["error"]["type"] for letter in letters] == ["no_model"] * 2
    assert '"foo":1' in letters[0]["event"]["original"]
    assert '"level":"INFO"' in letters[1]["event"]["original"]


@pytest.mark.logstash
def test_a_body_that_is_not_utf_8_becomes_a_dead_letter(logstash: Logstash) -> None:
    url = f"http://127.0.0.1:{logstash.http}/"
    for value in ("M\u00fcller".encode("latin-1"), rb"M\ufffdller", "M\u00fcller".encode()):
        body = b'{"model":"m","inputs":{"a":"%s"},"time":"2018-02-01T10:00:00Z"}' % value
        assert urllib.request.urlopen(urllib.request.Request(url, data=body)).status == 200
    letter, escaped, right = logstash.made(3)
    assert letter["error"]["type"] == "not_json"
    assert escaped["ml"]["input"]["category"] == {"a": "M\ufffdller"}
    assert right["ml"]["input"]["category"] == {"a": "M\u00fcller"}


@pytest.mark.logstash
def test_the_readmes_first_event_arrives(logstash: Logstash) -> None:
    (command,) = [block.text for block in blocks(PIPELINES / "README.md") if block.text.startswith("curl -d")]
    subprocess.run(
        shlex.split(command.replace(":8080", f":{logstash.http}")),
        check=True,
        capture_output=True,
        timeout=600,
    )
    (event,) = logstash.made(1)
    assert event["ml"]["model"]["name"] == "loans"
    assert event["ml"]["prediction"]["value"] == 11.5


@pytest.mark.logstash
def test_lines_read_by_filebeat_become_events(logstash: Logstash) -> None:
    line = (FOLDER / "001-ours-prediction.raw").read_text()
    about = {"log": {"offset": 17, "file": {"path": "/spool/a.jsonl"}}, "agent": {"type": "filebeat"},
             "@timestamp": "2018-02-01T11:00:00.000Z"}  # fmt: skip
    receiver = create_receiver(parse_target(f"beats://127.0.0.1:{logstash.beats}"))
    receiver.send([json.dumps({"message": text, **about}).encode() for text in (line, line[:50])])
    receiver.close()
    event, letter = logstash.made(2)
    assert canonical(event) == canonical(comparable(normalize(line, now=NOW).document))
    assert letter["error"]["type"] == "not_json"
    assert letter["log"] == about["log"]
    assert letter["event"]["original"] == line[:50]


@pytest.mark.logstash
def test_a_cloud_event_in_binary_mode_becomes_an_event(logstash: Logstash) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{logstash.http}/", data=b'{"instances": [{"income": 1}]}',
        headers={"ce-specversion": "1.0", "ce-id": "r-1", "ce-inferenceservicename": "loans",
                 "ce-time": "2018-02-01T10:00:00Z", "ce-type": "org.kubeflow.serving.inference.request",
                 "Content-Type": "application/json"},
    )  # fmt: skip
    assert urllib.request.urlopen(request).status == 200
    (event,) = logstash.made(1)
    assert event["ml"]["model"]["name"] == "loans"
    assert event["ml"]["input"] == {"numeric": {"income": 1}}
    assert event["ml"]["request"] == {"id": "r-1"}


@pytest.mark.logstash
@pytest.mark.elasticsearch
def test_what_elasticsearch_refuses_reaches_the_dead_letter_stream(
    tmp_path: Path, elasticsearch_url: str
) -> None:
    """The pipelines as they are shipped, both of them, with TLS on every input."""
    call(elasticsearch_url, "PUT", "/_index_template/test-logstash", {
        "index_patterns": ["logs-ml.*-lstest"], "data_stream": {}, "priority": 900,
        "template": {"mappings": {"dynamic": False, "properties": {
            "event": {"properties": {"id": {"type": "keyword"}}},
            "error": {"properties": {"type": {"type": "keyword"}}},
            "ml": {"properties": {"prediction": {"properties": {"value": {"type": "double"}}}}}}}},
    })  # fmt: skip
    accepted = json.loads((FOLDER / "001-ours-prediction.raw").read_bytes())
    refused = accepted | {
        "event": accepted["event"] | {"id": "bad"},
        "ml": accepted["ml"] | {"prediction": {"value": "high"}},
    }
    pipelines = logstash_server.shipped()
    beats, tcp, http = free_port(), free_port(), free_port()
    authority, tls = certificates(tmp_path)
    environment = tls | {
        "ML_BEATS_PORT": str(beats), "ML_TCP_PORT": str(tcp), "ML_HTTP_PORT": str(http),
        "ML_ELASTICSEARCH_URL": elasticsearch_url, "ML_OUTPUT": "elasticsearch-open", "ML_NAMESPACE": "lstest",
    }  # fmt: skip
    try:
        with logstash_server.running(tmp_path, pipelines, environment):
            lines = [json.dumps(event).encode() for event in (accepted, refused, accepted)]
            for url, sent in (
                (f"beats+tls://localhost:{beats}", lines[:2]),
                (f"https://localhost:{http}", lines[2:]),
                (f"tcp+tls://localhost:{tcp}", [b"17"]),
            ):
                receiver = create_receiver(parse_target(url, ca=authority))
                receiver.send(sent)
                receiver.close()
            stored = wait_for_documents(
                elasticsearch_url, {"logs-ml.prediction-lstest": 1, "logs-ml.deadletter-lstest": 2}
            )
    except Unavailable as reason:
        pytest.skip(f"THE PIPELINES WERE NOT TESTED IN A REAL LOGSTASH: {reason}")
    (prediction,) = stored["logs-ml.prediction-lstest"]
    assert prediction["_id"] == accepted["event"]["id"]
    assert prediction["_source"]["ml"]["input"] == accepted["ml"]["input"]
    letters = {
        event["_source"]["error"]["type"]: event["_source"] for event in stored["logs-ml.deadletter-lstest"]
    }
    assert letters.keys() == {"document_parsing_exception", "not_an_object"}
    of_mapping = letters["document_parsing_exception"]
    assert of_mapping["ml"]["deadletter"]["stage"] == "index"
    assert of_mapping["error"]["message"].startswith("response: ")
    assert json.loads(of_mapping["event"]["original"])["event"]["id"] == "bad"


def certificates(folder: Path) -> tuple[str, dict[str, str]]:
    """The authority's file, and the settings of inputs with a certificate of it for localhost."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    files = {name: folder / f"{name}.pem" for name in ("ca", "certificate", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    files["certificate"].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    files["key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(files["ca"]), {
        "ML_TLS": "true",
        "ML_TLS_CA": str(files["ca"]),
        "ML_TLS_CERTIFICATE": str(files["certificate"]),
        "ML_TLS_KEY": str(files["key"]),
    }


def wait_for_documents(url: str, counts: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    until = time.monotonic() + 900
    documents: dict[str, list[dict[str, Any]]] = {}
    while time.monotonic() < until:
        call(url, "POST", "/logs-ml.*-lstest/_refresh?allow_no_indices=true")
        documents = {
            name: call(url, "GET", f"/{name}/_search?size=100&ignore_unavailable=true")["hits"]["hits"]
            for name in counts
        }
        if all(len(documents[name]) >= count for name, count in counts.items()):
            break
        time.sleep(0.5)
    assert {name: len(hits) for name, hits in documents.items()} == counts
    return documents


def call(url: str, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url + path, data=data, method=method, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
