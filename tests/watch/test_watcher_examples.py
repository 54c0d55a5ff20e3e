"""Watches as Watcher's documentation writes them, one a construct: each is loaded as it is and run on real parts.

Only the port of ``127.0.0.1`` is set, to where the test's HTTP server listens.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from logging_lib._util import content
from logging_lib._util.times import format_instant
from logging_lib.store.connection import Connection, ConnectionSettings
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import Store
from logging_lib.watch.backtest.backtest import AsOf
from logging_lib.watch.errors import RunError
from logging_lib.watch.evaluate import evaluate, run_dependencies, run_transform, with_payload
from logging_lib.watch.http import HttpClient
from logging_lib.watch.lint import lint_watch
from logging_lib.watch.loading import load_watch, parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import DeliveryError, RenderError
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.notify.index import IndexChannel
from logging_lib.watch.notify.log import LogChannel
from logging_lib.watch.notify.registry import channel_of, configure_channels, parse_action, render_action
from logging_lib.watch.notify.slack import SlackChannel
from logging_lib.watch.notify.webhook import WebhookChannel
from logging_lib.watch.runner import Runner
from tests.watch.conftest import NOW, MailServer, Receiver, Webhook, draft, minutes

FOLDER = Path(__file__).parent / "watcher_examples"
PORT = "65000"
LINES = [
    {
        "_id": "1",
        "n": 1,
        "at": NOW - minutes(9),
        "level": "info",
        "host": "web",
        "message": "started",
        "tags": ["a"],
    },
    {
        "_id": "2",
        "n": 2,
        "at": NOW - minutes(4),
        "level": "error",
        "host": "web",
        "message": "broke <!channel>",
    },
    {
        "_id": "3",
        "n": 3,
        "at": NOW - minutes(3),
        "level": "error",
        "host": "db",
        "message": "{{ctx.watch_id}}",
    },
    {"_id": "4", "n": 4, "at": NOW - minutes(2), "level": "info", "host": "app", "message": "fine"},
]


def fill(store: Store) -> None:
    documents = [{**line, "at": format_instant(line["at"])} for line in LINES]  # type: ignore[arg-type]
    assert store.index("app-logs", documents).created == len(documents)
    store.refresh()


@pytest.fixture
def store() -> Iterator[Store]:
    with EmbeddedStore(None) as opened:
        fill(opened)
        yield opened


def load(name: str, receiver: Receiver) -> Watch:
    text = (FOLDER / f"{name}.json").read_text("utf-8").replace(PORT, str(receiver.port))
    return parse_watch(text, id=name)


def perform(watch: Watch, store: Store) -> dict[str, Any]:
    """What each action sends; None where its condition is not met, a text where it fails. {}: the watch is not."""
    dependencies = run_dependencies(store, now=NOW)
    evaluation = evaluate(watch, dependencies=dependencies, now=NOW, scheduled=NOW)
    if not evaluation.met:
        return {}
    context = evaluation.context
    if watch.definition.transform:
        payload = run_transform(
            watch.definition.transform, context, dependencies=dependencies, where="transform"
        )
        context = with_payload(context, payload)
    outcomes: dict[str, Any] = {}
    for name, action in watch.actions.items():
        try:
            outcomes[name] = render_action(
                action, context, draft(name, watch=watch.id), dependencies=dependencies
            )
        except RenderError as error:
            outcomes[name] = str(error)
    return outcomes


def texts(messages: Any) -> list[str]:
    return [message.text for message in messages]


NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_each_of_watchers_examples_is_loaded_unchanged(name: str) -> None:
    """And lint has nothing to say but what is so: a password, a condition that is never, the largest terms."""
    watch = load_watch(FOLDER / f"{name}.json")
    assert watch.schedule.next(NOW) is not None
    rules = {finding.rule for finding in lint_watch(watch, now=NOW)}
    expected = {
        "http_health": {"literal-secret"},
        "transform_search": {"never-runs"},
        "array_compare_foreach": {"cut-terms"},
        "index_document": {"cut-terms"},
    }
    assert rules == expected.get(name, set())


def test_an_example_that_searches_compares_and_logs(
    store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """The search is bounded by the slot."""
    (message,) = perform(load("log_errors", receiver), store)["log_error"] or ()
    LogChannel().deliver(message)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, "Found 2 errors in the logs")
    ]


def test_an_example_with_an_http_input(store: Store, receiver: Receiver, mail_server: MailServer) -> None:
    """Parameters, headers and a login are sent; what is extracted is compared; the run's data is attached."""
    receiver.json(
        "/_cluster/health", {"status": "red", "nodes": {"a": {"name": "n1", "ip": "x"}}, "tasks": 4}
    )
    (message,) = perform(load("http_health", receiver), store)["send_email"] or ()
    (asked,) = receiver.requests
    assert (asked.method, parse_qs(urlsplit(asked.path).query)) == ("GET", {"level": ["red & more"]})
    assert asked.headers["X-Watch"] == "http_health"
    assert asked.headers["Authorization"].startswith("Basic ")
    EmailChannel(mail_server.url).deliver(message)
    (mail,) = mail_server.mails
    assert mail["Subject"] == "Cluster is red (200)"
    assert mail_server.bodies() == ['It answered {"a":{"name":"n1"}}\n']
    (attached,) = mail.iter_attachments()
    payload = yaml.safe_load(attached.get_content())["ctx"]["payload"]
    assert attached.get_filename() == "data.yaml"
    assert (payload["status"], payload["_status_code"], "tasks" in payload) == ("red", 200, False)
    receiver.json("/_cluster/health", {"status": "green"})
    assert perform(load("http_health", receiver), store) == {}


def test_an_example_with_an_answer_that_is_text(store: Store, receiver: Receiver) -> None:
    """It is ctx.payload._value; an error's answer is a payload, too, with its status."""
    receiver.answers["/ping"] = (503, {}, b"no way")
    assert texts(perform(load("http_text", receiver), store)["log"]) == ["it said no way"]
    (asked,) = receiver.requests
    assert (asked.method, asked.path, json.loads(asked.body)) == (
        "POST",
        "/ping?deep=yes",
        {"id": "http_text"},
    )
    receiver.answers["/ping"] = (200, {}, b"pong")
    assert perform(load("http_text", receiver), store) == {}


def test_each_input_of_a_chain_sees_those_before_it(store: Store, receiver: Receiver) -> None:
    """A value in a path is one part of it."""
    receiver.json("/of/_a%20b%2Fc", {"level": "error"})
    messages = perform(load("chain", receiver), store)["log"]
    assert texts(messages) == ["last error: {{ctx.watch_id}}"]  # a value is never a template


def test_an_example_with_array_compare_and_foreach(store: Store, receiver: Receiver) -> None:
    """No more than max_iterations; what was left out is reported."""
    messages = perform(load("array_compare_foreach", receiver), store)["each_host"]
    assert messages is not None
    assert [message.channel for message in messages] == ["webhook", "webhook", "logging"]
    for message in messages[:2]:
        WebhookChannel().deliver(message)
    assert [(r.method, r.path) for r in receiver.requests] == [
        ("PUT", "/hosts/web?n=2"),
        ("PUT", "/hosts/app?n=1"),
    ]
    assert len({r.headers["Idempotency-Key"] for r in receiver.requests}) == 2
    assert "1 of 3 were left out: max_iterations is 2" in messages[2].text


def test_a_transforming_search_and_conditions_of_actions(store: Store, receiver: Receiver) -> None:
    """The transform's answer is the payload of all actions."""
    outcomes = perform(load("transform_search", receiver), store)
    assert texts(outcomes["log"]) == ["<broke <!channel>><{{ctx.watch_id}}>"]
    assert outcomes["not_now"] is None


def test_an_example_with_attachments_of_a_mail(
    store: Store, receiver: Receiver, mail_server: MailServer
) -> None:
    """Data as JSON and YAML, what another server brings, a note in place of what it did not; one line a header."""
    receiver.answers["/chart"] = (200, {"Content-Type": "text/html"}, b"\x89PNG")
    receiver.answers["/gone"] = (404, {}, b"")
    (message,) = perform(load("email_attachments", receiver), store)["mail"] or ()
    EmailChannel(mail_server.url).deliver(message)
    (mail,) = mail_server.mails
    assert mail["Subject"] == "web Bcc: evil@example.org is down"
    assert (mail["X-Priority"], mail["Cc"], mail["Reply-To"]) == ("2", "lead@example.org", "team@example.org")
    assert sorted(mail_server.envelopes[0]) == [
        "audit@example.org",
        "dev@example.org",
        "lead@example.org",
        "ops@example.org",
    ]
    attached = {part.get_filename(): part for part in mail.walk() if part.get_filename()}
    assert list(attached) == ["data.json", "data.yml", "chart.png", "gone.pdf.txt"]
    assert json.loads(attached["data.json"].get_content())["ctx"]["payload"]["n"] == 3
    assert yaml.safe_load(attached["data.yml"].get_content())["ctx"]["watch_id"] == "email_attachments"
    chart = attached["chart.png"]
    assert (chart.get_content_type(), chart.get_content()) == ("image/png", b"\x89PNG")
    assert (chart.get_content_disposition(), chart["Content-ID"]) == ("inline", "<chart.png>")
    assert "is not attached: the server answered 404" in attached["gone.pdf.txt"].get_content()


def test_an_example_with_dynamic_attachments_of_slack(
    store: Store, receiver: Receiver, webhook: Webhook
) -> None:
    """One for each element, whose keys are the variables; values cannot call people."""
    messages = perform(load("slack_dynamic", receiver), store)["notify"]
    for message in messages or ():
        SlackChannel(webhook.url).deliver(message)
    assert [post["channel"] for post in webhook.posts] == ["#ops", "@slack_dynamic"]
    overview, *dynamic = webhook.posts[0]["attachments"]
    assert overview["fields"] == [{"title": "n", "value": "2", "short": True}]
    assert [attachment["title"] for attachment in dynamic] == ["web", "db"]
    assert dynamic[0]["text"] == "broke &lt;!channel&gt;"
    assert dynamic[0]["footer"] == "slack_dynamic"


def test_an_example_with_a_webhook_that_sends_a_form(store: Store, receiver: Receiver) -> None:
    """A value can begin no other part, parameter, header or field."""
    (message,) = perform(load("webhook_form", receiver), store)["post"] or ()
    WebhookChannel().deliver(message)
    (asked,) = receiver.requests
    path, _, query = asked.path.partition("?")
    value = 'a&b=c "quoted"\nline'
    assert path == "/api/a%26b%3Dc%20%22quoted%22%0Aline"
    assert parse_qs(query) == {"q": [value.replace("\n", " ")], "tags": ["x | y&z"]}
    assert asked.headers["X-Text"] == 'a&b=c "quoted" line'
    assert parse_qs(asked.body) == {"text": [value], "to": ["webhook_form/1"]}


def test_documents_are_stored_through_the_port(store: Store, receiver: Receiver) -> None:
    """What is stored again takes its own place, and `create` leaves what is there."""
    outcomes = perform(load("index_document", receiver), store)
    for _ in range(2):
        for messages in outcomes.values():
            for message in messages or ():
                IndexChannel(store).deliver(message)
    (hit,) = store.search("level-counts", {"size": 10})["hits"]["hits"]
    assert hit["_id"] == "latest"
    assert hit["_source"]["created_at"] == "2018-02-01T12:00:00.000Z"
    assert {b["key"]: b["doc_count"] for b in hit["_source"]["aggregations"]["levels"]["buckets"]} == {
        "error": 2,
        "info": 2,
    }


def test_foreach_runs_over_hits_texts_and_empty_lists(store: Store, receiver: Receiver) -> None:
    """An object is the payload, a text is _value, and a value that is not a list fails the action."""
    watch = load("foreach_hits", receiver)
    assert (watch.throttle_period("each"), watch.throttle_period("tags")) == (minutes(15), minutes(2))
    outcomes = perform(watch, store)
    assert texts(outcomes["each"])[:3] == [
        "1: started of foreach_hits",
        "2: broke <!channel> of foreach_hits",
        "3: {{ctx.watch_id}} of foreach_hits",
    ]
    assert texts(outcomes["tags"]) == ["tag a"]
    assert outcomes["nothing"] == "foreach: ctx.payload.hits.hits.0._source.none is not a list"


def test_an_example_with_a_search_template(store: Store, receiver: Receiver) -> None:
    """Its params are variables beside ctx; hits.total may be asked for as an object."""
    assert texts(perform(load("search_template", receiver), store)["log"]) == ["2 in 2"]


def test_an_example_with_date_math_in_a_comparison(store: Store, receiver: Receiver) -> None:
    """Dates compare as dates."""
    assert perform(load("date_compare", receiver), store) == {}
    with EmbeddedStore(None) as old:
        old.index("app-logs", [{"at": format_instant(NOW - minutes(6))}])
        assert texts(perform(load("date_compare", receiver), old)["log"]) == [
            "silent since 2018-02-01T11:54:00.000Z"
        ]


def test_the_template_for_an_sms_gateway(receiver: Receiver) -> None:
    """JSON whatever a value holds; the gateway's token comes from the environment; its refusals are reported."""
    action = json.loads((content.path("watchers") / "templates" / "sms.json").read_text("utf-8"))
    metadata = {"sms_to": ["+491700000000"]}
    finding = {"about": 'loans", "to": "+4900', "what": "inc\nome 10.6 % missing"}
    payload = {"result": {"count": 2, "more": 1, "findings": [finding]}}
    context = {"ctx": {"id": "i", "watch_id": "w", "metadata": metadata, "payload": payload, "vars": {}}}
    action["webhook"].update(scheme="http", host="127.0.0.1", port=receiver.port)
    with EmbeddedStore(None) as store:
        (message,) = (
            render_action(
                parse_action(action),
                context,
                draft("sms"),
                dependencies=run_dependencies(store, now=NOW),
            )
            or ()
        )
    environ = {"LOGGING_LIB_AUTHORIZATION_127_0_0_1": "Bearer topsecret"}
    channel = WebhookChannel(HttpClient.from_environ(environ))
    channel.deliver(message)
    (sent,) = receiver.requests
    assert json.loads(sent.body) == {
        "to": ["+491700000000"],
        "text": 'loans", "to": "+4900: inc\nome 10.6 % missing +1 more',
    }
    assert sent.headers["Authorization"] == "Bearer topsecret"
    assert "topsecret" not in repr(channel)
    for answer, expected in [
        ((429, {"Retry-After": "7"}, b"slow down"), "answered 429, retry after 7 s: slow down"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "redirects are not followed"),
        ((500, {}, b"echo topsecret"), "answered 500"),
    ]:
        receiver.answers["/v1/messages"] = answer
        with pytest.raises(DeliveryError, match=expected) as caught:
            channel.deliver(message)
        assert "topsecret" not in str(caught.value)
        assert caught.value.retry_after == (7 if answer[0] == 429 else None)
    receiver.stop()
    with pytest.raises(
        DeliveryError, match=r"^http://127.0.0.1:\d+: no answer: Connection refused; is it run"
    ):
        channel.deliver(message)
    receiver.__init__()  # type: ignore[misc]  # so that the fixture can stop it


@pytest.mark.parametrize(("name", "channel"), [("teams", "teams"), ("pagerduty", "pagerduty")])
def test_templates_of_other_channels_fit_into_every_shipped_watch(name: str, channel: str) -> None:
    """Copied into its actions it is checked as a part of it; for Watcher a webhook's body is a text."""
    action = json.loads((content.path("watchers") / "templates" / f"{name}.json").read_text("utf-8"))
    assert isinstance(action.get("webhook", {}).get("body", ""), str)
    for file in sorted(content.path("watchers").glob("*.json")):
        document = json.loads(file.read_text("utf-8"))
        document["actions"] = {name: action}
        watch = parse_watch(document, id=file.stem)
        assert channel_of(watch.actions[name]).name == channel


def test_a_backtest_sends_no_http_requests(store: Store, receiver: Receiver) -> None:
    """A backtest's answers would be of another time."""
    with pytest.raises(RunError, match="cannot be made for a time that is past"):
        perform(load("http_text", receiver), AsOf(store))
    assert receiver.requests == []


@pytest.fixture(scope="module")
def elastic(elasticsearch_url: str) -> Iterator[ElasticsearchStore]:
    connection = Connection(ConnectionSettings(elasticsearch_url))
    with ElasticsearchStore(connection) as opened:
        mapping = {
            "mappings": {"properties": {n: {"type": "keyword"} for n in ("level", "host", "message", "tags")}}
        }
        for index in ("app-logs", "summary"):
            connection.call("DELETE", f"/{index}", params={"ignore_unavailable": "true"})
        connection.call("PUT", "/app-logs", mapping)
        fill(opened)
        yield opened
        for index in ("app-logs", "summary"):
            connection.call("DELETE", f"/{index}", params={"ignore_unavailable": "true"})


@pytest.mark.elasticsearch
def test_painless_conditions_and_transforms(elastic: ElasticsearchStore, receiver: Receiver) -> None:
    """What the condition kept in ctx.vars is there for the action's transform."""
    assert texts(perform(load("script_condition", receiver), elastic)["log"]) == ["share 0.5 at 12"]


@pytest.mark.elasticsearch
def test_documents_made_by_painless_are_stored_in_bulk(
    elastic: ElasticsearchStore, receiver: Receiver
) -> None:
    """Each with its own id, once however often it is sent."""
    messages = perform(load("transform_chain_bulk", receiver), elastic)["store"]
    for _ in range(2):
        for message in messages or ():
            IndexChannel(elastic).deliver(message)
    hits = elastic.search("summary", {"size": 10, "sort": [{"seen": "asc"}]})["hits"]["hits"]
    assert {hit["_id"]: hit["_source"]["host"] for hit in hits} == {"copy-2": "web", "copy-3": "db"}
    assert {hit["_source"]["seen"] for hit in hits} == {"2018-02-01T12:00:00.000Z"}


@pytest.mark.elasticsearch
@pytest.mark.parametrize("name", ["log_errors", "search_template", "foreach_hits", "transform_search"])
def test_both_stores_give_the_same_results(
    store: Store, elastic: ElasticsearchStore, receiver: Receiver, name: str
) -> None:
    """What needs no Painless."""
    assert perform(load(name, receiver), elastic) == perform(load(name, receiver), store)


def test_the_runner_executes_all_of_watchers_actions(store: Store, receiver: Receiver) -> None:
    """Requests and documents go out as mails do, each throttled by itself; the second run is quiet."""
    names = ("array_compare_foreach", "index_document", "webhook_form")
    watches = [load(name, receiver) for name in names]
    runner = Runner(store, watches, channels=configure_channels({}, store=store))
    report = runner.run_once(NOW)
    assert {run.watch: run.error for run in report.runs} == dict.fromkeys(names)
    assert {name: result.status for alert in report.alerts for name, result in alert.actions.items()} == {
        "each_host": "executed",
        "save": "executed",
        "once": "executed",
        "post": "executed",
    }
    assert sorted(request.method for request in receiver.requests) == ["POST", "PUT", "PUT"]
    assert store.search("level-counts", {"size": 1})["hits"]["total"]["value"] == 1
    again = runner.run_once(NOW + minutes(1 / 60))
    assert all(r.status == "throttled" for run in again.runs for a in run.alerts for r in a.actions.values())
    assert len(receiver.requests) == 3
