"""Where to ship to, as one URL. Pure, and light enough for ``configure``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

_PORTS = {"beats": 5044, "tcp": 5000, "http": 8080, "https": 8080}
_FILES = ("ca", "cert", "key")


@dataclass(frozen=True)
class Target:
    """A receiver's address. ``kind`` is ``beats``, ``tcp``, ``http`` or ``stdout``."""

    kind: str
    host: str = ""
    port: int = 0
    tls: bool = False
    path: str = "/"
    user: str | None = None
    password: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        """The URL without what is secret."""
        if self.kind == "stdout":
            return "stdout:"
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.kind == "http":
            return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"
        return f"{self.kind}{'+tls' if self.tls else ''}://{host}:{self.port}"


def target(url: str, *, ca: str | None = None, cert: str | None = None, key: str | None = None) -> Target:
    """Read a URL.

    ``beats://host:5044``, ``beats+tls://``, ``tcp://``, ``tcp+tls://``, ``http://``, ``https://`` or ``stdout:``.
    The files for TLS may stand in its query: ``beats+tls://host?ca=ca.pem&cert=me.pem&key=me.key``; arguments
    go before them.

    Args:
        url: the receiver; for HTTP it may carry a user and a password.
        ca: file of the certificates that are trusted, PEM. Default: the system's.
        cert: the client's certificate, PEM.
        key: its key, PEM, where it is not in the same file.

    Raises:
        ValueError: it is no such URL; the message says what is expected.
    """
    parts = urlsplit(url)
    scheme, _, layer = parts.scheme.partition("+")
    if scheme == "stdout":
        return Target("stdout")
    if scheme == "es":
        raise ValueError(
            "es+http: straight to Elasticsearch is not supported yet; ship to Logstash (beats://)"
        )
    tls = scheme == "https" or layer == "tls"
    if scheme not in _PORTS or layer not in ("", "tls") or (layer and scheme in ("http", "https")):
        raise ValueError(
            f"{url!r}: expected beats://, beats+tls://, tcp://, tcp+tls://, http://, https:// or stdout:"
        )
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}") from None
    if not host:
        raise ValueError(f"{url!r}: names no host")
    query = dict(parse_qsl(parts.query))
    files = {"ca": ca, "cert": cert, "key": key}
    files = {name: given or query.get(name) for name, given in files.items()}
    if any(files.values()) and not tls:
        raise ValueError(f"{url!r}: ca, cert and key need TLS (beats+tls://, tcp+tls:// or https://)")
    if files["key"] and not files["cert"]:
        raise ValueError(f"{url!r}: a key needs its cert")
    if unknown := set(query) - set(_FILES):
        raise ValueError(f"{url!r}: unknown option {min(unknown)}; known are ca, cert and key")
    return Target(
        "http" if scheme == "https" else scheme,
        host,
        port or _PORTS[scheme],
        tls,
        parts.path or "/",
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        **files,
    )
