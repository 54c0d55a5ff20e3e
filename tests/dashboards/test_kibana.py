"""Import, export, compare and delete, against a server that answers as Kibana's documented API does."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from logging_lib._util.ownership import OwnershipState
from logging_lib.dashboards.kibana import client as kibana
from logging_lib.dashboards.kibana import objects, reconcile
from logging_lib.dashboards.kibana.client import Kibana, KibanaError
from logging_lib.dashboards.spec import Dashboard
from logging_lib.store.connection import ConnectionSettings
from logging_lib.store.port import StoreError
from tests.dashboards import fake_kibana


@pytest.fixture
def server() -> Iterator[fake_kibana.Server]:
    with fake_kibana.running(fake_kibana.Server()) as made:
        yield made


@pytest.fixture
def client(server: fake_kibana.Server) -> Iterator[Kibana]:
    with Kibana(ConnectionSettings(server.url)) as made:
        yield made


@pytest.fixture(scope="session")
def wanted(shipped: list[Dashboard]) -> list[dict[str, Any]]:
    return objects.saved_objects(shipped)


def test_an_import_brings_all_objects(client: Kibana, server: fake_kibana.Server, wanted: list[Any]) -> None:
    assert client.version() == "9.1.2"
    assert client.import_objects(wanted).taken == len(wanted)
    assert set(server.spaces["default"]) == {(one["type"], one["id"]) for one in wanted}
    assert not server.spaces["team-a"]


def test_a_space_is_part_of_the_address(server: fake_kibana.Server, wanted: list[Any]) -> None:
    with Kibana(ConnectionSettings(server.url), space="team-a") as client:
        client.import_objects(wanted)
        assert len(client.export_ours()) == len(wanted)
    assert not server.spaces["default"]
    with (
        Kibana(ConnectionSettings(server.url), space="nowhere") as client,
        pytest.raises(KibanaError, match="such a space"),
    ):
        client.import_objects(wanted)
    with pytest.raises(StoreError, match="not the id of a space"):
        Kibana(ConnectionSettings(server.url), space="../other")


def test_a_conflict_is_explained_and_nothing_is_touched(
    client: Kibana, server: fake_kibana.Server, wanted: list[Any]
) -> None:
    client.import_objects(wanted)
    before = dict(server.spaces["default"])
    made = client.import_objects(wanted)
    assert (made.taken, made.conflicts) == (0, len(wanted))
    assert "is there already; --force replaces it, --new-copies adds another" in made.refused[0]
    assert server.spaces["default"] == before
    assert client.import_objects(wanted, new_copies=True).taken == len(wanted)
    assert len(server.spaces["default"]) == 2 * len(wanted)


def test_a_missing_reference_is_named(client: Kibana, wanted: list[Any]) -> None:
    made = client.import_objects([one for one in wanted if one["type"] == "dashboard"])
    assert made.taken == 0
    assert "refers to index-pattern logging-lib-data-" in made.refused[0]


def test_a_type_that_kibana_does_not_know_is_named(client: Kibana) -> None:
    one = {"type": "canvas", "id": "x", "attributes": {}, "references": []}
    assert "does not know the type" in client.import_objects([one]).refused[0]


def test_an_export_of_a_newer_kibana_is_refused(client: Kibana, wanted: list[Any]) -> None:
    ours = [{**one, "typeMigrationVersion": "12.0.0"} for one in wanted]
    with pytest.raises(
        KibanaError, match=r"422 .*more recent version.*comes from a newer Kibana: upgrade this one"
    ):
        client.import_objects(ours)
    assert kibana.explain_newer(wanted, "8.15.0") is None
    reason = kibana.explain_newer([{**wanted[0], "coreMigrationVersion": "10.1.0"}], "9.1.2")
    assert reason is not None
    assert "by a Kibana of 10.1.0 or later" in reason


def test_an_export_has_all_that_is_referred_to(client: Kibana, wanted: list[Any]) -> None:
    assert client.export_ours() == []
    client.import_objects(wanted)
    found = {(one["type"], one["id"]) for one in client.export([("dashboard", "logging-lib-inputs")])}
    assert {("dashboard", "logging-lib-inputs"), ("index-pattern", "logging-lib-data-prediction")} <= found
    with pytest.raises(KibanaError, match="400 Error fetching objects to export: dashboard nothing"):
        client.export([("dashboard", "nothing")])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((401, {}, b'{"message": "unauthorized"}'), "401 unauthorized; set LOGGING_LIB_KIBANA_API_KEY"),
        (
            (403, {}, b'{"message": "Unable to bulk_create"}'),
            "403 Unable to bulk_create; .*lacks the privilege",
        ),
        ((413, {}, b"<html>413 Request Entity Too Large</html>"), "413 .*savedObjects.maxImportPayloadBytes"),
        ((429, {}, b"{}"), "429 .*too busy"),
        ((500, {}, b'{"message": "An internal server error occurred"}'), "500 An internal.*Kibana's log"),
        ((503, {}, b"Kibana server is not ready yet"), "503 Kibana server is not ready yet; .*in a minute"),
        ((200, {}, b"<html><body>Welcome</body></html>"), "not JSON but '<html>.*is that a Kibana"),
        ((200, {}, b'"ok"'), "the import was answered with 'ok'"),
        ((302, {"location": "/login?next=%2F"}, b""), "leads to /login: a login page"),
        ((500, {}, b'{"message": "a\\u001b[31mb"}'), "500 a\N{REPLACEMENT CHARACTER}"),
    ],
    ids=["401", "403", "413", "429", "500", "503", "html", "text", "redirect", "terminal"],
)
def test_a_refusal_names_its_remedy(
    client: Kibana, server: fake_kibana.Server, wanted: list[Any], answer: Any, says: str
) -> None:
    server.failures["/_import"] = answer
    with pytest.raises(KibanaError, match=says):
        client.import_objects(wanted)


def test_an_error_says_that_no_kibana_runs() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            Kibana(ConnectionSettings(url)) as client,
            pytest.raises(KibanaError, match="no answer: Connection refused; is it running"),
        ):
            client.version()


def test_a_server_other_than_kibana_is_refused(client: Kibana, server: fake_kibana.Server) -> None:
    server.failures["/status"] = (200, {}, b'{"cluster_name": "docker-cluster"}')
    with pytest.raises(KibanaError, match="does not say its version"):
        client.version()


def test_requests_carry_the_credentials(server: fake_kibana.Server) -> None:
    server.authorization = "ApiKey abc="
    with Kibana(ConnectionSettings(server.url, api_key="abc=")) as client:
        assert client.version() == "9.1.2"
    with Kibana(ConnectionSettings(server.url)) as client, pytest.raises(KibanaError, match="401"):
        client.version()
    server.authorization = "Basic w6Q6w7Y="  # ä:ö
    with Kibana(ConnectionSettings(server.url, user="ä", password="ö")) as client:
        assert client.version() == "9.1.2"


def test_certificates_are_checked(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    for name, trusted, says in (
        ("127.0.0.1", True, None),
        ("127.0.0.1", False, "certificate verify failed: .*; set LOGGING_LIB_KIBANA_CA"),
        ("kibana.example", True, "use a host name or address that its certificate is for"),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        with (
            fake_kibana.running(fake_kibana.Server(), context) as server,
            Kibana(ConnectionSettings(server.url, ca=str(ca) if trusted else None)) as client,
            pytest.raises(KibanaError, match=says) if says else contextlib.nullcontext(),
        ):
            assert client.version() == "9.1.2"
    with pytest.raises(StoreError, match="there is no such file"):
        Kibana(ConnectionSettings("https://localhost", ca=str(tmp_path / "nothing.pem")))


def test_settings_fall_back_to_those_of_elasticsearch() -> None:
    environment = {
        "LOGGING_LIB_KIBANA_URL": "https://kibana:5601/base/",
        "LOGGING_LIB_ELASTICSEARCH_API_KEY": "abc",
        "LOGGING_LIB_ELASTICSEARCH_CA": "ca.pem",
    }
    made = kibana.settings_from(environment)
    assert (made.url, made.api_key, made.ca) == ("https://kibana:5601/base", "abc", "ca.pem")
    environment |= {"LOGGING_LIB_KIBANA_USER": "me", "LOGGING_LIB_KIBANA_PASSWORD": "secret"}
    made = kibana.settings_from(environment)
    assert (made.user, made.api_key) == ("me", None)
    with pytest.raises(StoreError, match="LOGGING_LIB_KIBANA_URL, such as https://localhost:5601"):
        kibana.settings_from({})
    with pytest.raises(StoreError, match="leave user and password out"):
        kibana.settings_from({}, url="https://me:secret@kibana")


def test_deployment_knows_its_own_objects(
    client: Kibana, server: fake_kibana.Server, wanted: list[Any]
) -> None:
    def look(version: str = "9.1.2", objects: list[Any] = wanted) -> reconcile.KibanaStatus:
        return reconcile.inspect_objects(client, objects, version=version)

    fleet = ("dashboard", "logging-lib-fleet")
    searches = [("search", one["id"]) for one in wanted if one["type"] == "search"]
    assert set(look().states.values()) == {OwnershipState.MISSING}
    client.import_objects(wanted)  # by hand: Kibana rewrites saved searches, so these look like edited ones
    assert [key for key, state in look().states.items() if state is OwnershipState.FOREIGN] == searches
    assert reconcile.import_objects(client, wanted, version="9.1.2").refused == ()
    assert look().current
    assert reconcile.import_objects(client, wanted[:2], version="9.1.2").refused == ()
    assert look().current
    newer = [dict(one) for one in wanted]
    newer[-1] = {**newer[-1], "attributes": {**newer[-1]["attributes"], "description": "better"}}
    changed = (newer[-1]["type"], newer[-1]["id"])
    assert look(objects=newer).states[changed] is OwnershipState.OUTDATED
    assert look(objects=newer).protected == []
    assert list(reconcile.diff_objects(look(), newer)) == [*searches, changed]
    server.spaces["default"][fleet]["attributes"]["title"] = "Mine"
    assert look().protected == [fleet]
    assert look().note(fleet) == "somebody edited it"
    assert "Kibana was upgraded from 9.1.2" in look("9.9.0").note(fleet)
    reconcile.remove_objects(client, look().objects)
    assert not server.spaces["default"]


def test_opening_a_field_in_discover_does_not_count_as_an_edit(
    client: Kibana, server: fake_kibana.Server, wanted: list[Any]
) -> None:
    reconcile.import_objects(client, wanted, version="9.1.2")
    view = server.spaces["default"]["index-pattern", "logging-lib-data-prediction"]
    view["attributes"]["fieldAttrs"] = '{"ml.model.name":{"count":3}}'
    assert reconcile.inspect_objects(client, wanted, version="9.1.2").current


def test_the_message_explains_how_to_delete_if_kibana_cannot(
    client: Kibana, server: fake_kibana.Server, wanted: list[Any]
) -> None:
    server.bulk_delete = False
    client.import_objects(wanted)
    with pytest.raises(KibanaError, match="or delete what carries the tag 'ML monitoring'"):
        reconcile.remove_objects(client, [("tag", "logging-lib")])
    assert json.loads(objects.ndjson(wanted).splitlines()[-1])["exportedCount"] == len(wanted)
