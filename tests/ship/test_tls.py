"""TLS: the certificate, its host name and its dates are checked; a client certificate is shown."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from logging_lib.logger.spool import Spool
from logging_lib.ship.receivers import RetryError
from tests.ship.conftest import drain, fill
from tests.ship.receivers import BeatsSink, BulkSink, HttpSink, TcpSink

trustme = pytest.importorskip("trustme", reason="the test extra's trustme is not installed")

SCHEMES = {"beats+tls": BeatsSink, "tcp+tls": TcpSink, "https": HttpSink, "es+https": BulkSink}
PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Any:
    return trustme.CA()


@pytest.fixture
def ca(authority: Any, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def server(authority: Any, name: str = "127.0.0.1", **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_trusted_receiver_gets_the_events(
    scheme: str, authority: Any, ca: str, spool: Spool, ship: Callable[..., Any]
) -> None:
    fill(spool, 3)
    with SCHEMES[scheme](tls=server(authority)) as sink:
        assert drain(ship(spool, f"{scheme}://127.0.0.1:{sink.port}", ca=ca)) == 3
        if isinstance(sink, TcpSink):
            sink.wait_for(3)
        assert len(sink.events) == 3


@pytest.mark.parametrize("scheme", ["beats", "beats+tls", "tcp", "tcp+tls"])
def test_an_idle_connection_that_was_closed_is_opened_again(
    scheme: str, authority: Any, ca: str, spool: Spool, ship: Callable[..., Any]
) -> None:
    tls = scheme.endswith("tls")
    with SCHEMES[f"{scheme.removesuffix('+tls')}+tls"](tls=server(authority) if tls else None) as sink:
        shipper = ship(spool, f"{scheme}://127.0.0.1:{sink.port}", **({"ca": ca} if tls else {}))
        for count in (1, 2):
            fill(spool, 1, first=count)
            assert drain(shipper) == 1  # raises where the receiver must be tried again
            sink.wait_for(count)
            sink.hang_up()
            time.sleep(0.1)
    assert shipper.reader.state.retries == 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("host", "(?i)mismatch|doesn't match|not valid for"),
        ("expired", "expired"),
        ("unknown", "(?i)self.signed|unable to get"),
    ],
)
def test_an_untrusted_receiver_gets_nothing(
    scheme: str, wrong: str, said: str, authority: Any, ca: str, spool: Spool, ship: Callable[..., Any]
) -> None:
    fill(spool, 3)
    context = {
        "host": lambda: server(authority, "elsewhere.example"),
        "expired": lambda: server(authority, not_before=PAST, not_after=PAST.replace(year=2021)),
        "unknown": lambda: server(trustme.CA()),
    }[wrong]()
    with SCHEMES[scheme](tls=context) as sink:
        with pytest.raises(RetryError, match=said):
            drain(ship(spool, f"{scheme}://127.0.0.1:{sink.port}", ca=ca))
        assert sink.events == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_client_certificate_is_shown_to_the_receiver(
    scheme: str, authority: Any, ca: str, spool: Spool, ship: Callable[..., Any], tmp_path: Path
) -> None:
    fill(spool, 2)
    context = server(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    mine = authority.issue_cert("service@example.org")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = {"ca": ca, "cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    with SCHEMES[scheme](tls=context) as sink:
        assert drain(ship(spool, f"{scheme}://127.0.0.1:{sink.port}", **files)) == 2
        if isinstance(sink, TcpSink):
            sink.wait_for(2)
        assert len(sink.events) == 2
