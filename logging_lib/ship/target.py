"""The parser of a receiver's URL. It imports little, because ``configure`` uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import parse_qsl, unquote, urlsplit

from logging_lib._util.suggestions import find_similar
from logging_lib.schema import DEFAULT_NAMESPACE, validate_namespace

_PORTS = {"beats": 5044, "tcp": 5000, "http": 8080, "https": 8080, "es": 9200}
_LAYERS = {"beats": ("", "tls"), "tcp": ("", "tls"), "http": ("",), "https": ("",), "es": ("http", "https")}
_FILES = ("ca", "cert", "key")
_EXPECTED = (
    "beats://, beats+tls://, es+http://, es+https://, tcp://, tcp+tls://, http://, https:// or stdout:"
)
API_KEY = "LOGGING_LIB_ELASTICSEARCH_API_KEY"
"""The environment variable that holds the API key for Elasticsearch."""


@dataclass(frozen=True)
class Target:
    """A receiver's address. ``kind`` is ``beats``, ``tcp``, ``http``, ``es`` or ``stdout``."""

    kind: str
    host: str = ""
    port: int = 0
    tls: bool = False
    path: str = "/"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    namespace: str = DEFAULT_NAMESPACE

    def __str__(self) -> str:
        """Format the URL without its secrets."""
        if self.kind == "stdout":
            return "stdout:"
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.kind in ("http", "es"):
            prefix = "es+" if self.kind == "es" else ""
            return f"{prefix}{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"
        return f"{self.kind}{'+tls' if self.tls else ''}://{host}:{self.port}"


def parse_target(
    url: str, *, ca: str | None = None, cert: str | None = None, key: str | None = None
) -> Target:
    """Parse a receiver's URL.

    ``beats://host:5044``, ``beats+tls://``, ``tcp://``, ``tcp+tls://``, ``http://``, ``https://``,
    ``es+http://host:9200``, ``es+https://`` or ``stdout:``. The query may name the files for TLS:
    ``beats+tls://host?ca=ca.pem&cert=me.pem&key=me.key``; arguments take precedence. For Elasticsearch it may also
    name the data streams' namespace: ``es+https://host?namespace=prod``.

    Args:
        url: the URL of the receiver; for HTTP and Elasticsearch it may have a user and a password.
        ca: the file with the trusted certificates, PEM; default: those of the system.
        cert: the file with the client's certificate, PEM.
        key: the file with the certificate's key, PEM, if it is not in the same file.

    Raises:
        ValueError: the URL is invalid; the message says what is expected, and contains no secret.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"a URL that cannot be read: expected {_EXPECTED}") from None
    scheme, _, layer = parts.scheme.partition("+")
    if scheme == "stdout":
        return Target("stdout")
    quoted = _quote(url)
    tls = "https" in (scheme, layer) or layer == "tls"
    if layer not in _LAYERS.get(scheme, ()):
        raise ValueError(f"{quoted}: {_suggest_scheme(url) or f'expected {_EXPECTED}'}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{quoted}: {error}") from None
    if not host:
        raise ValueError(f"{quoted}: the URL has no host")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    namespace = query.pop("namespace", DEFAULT_NAMESPACE) if scheme == "es" else DEFAULT_NAMESPACE
    try:
        validate_namespace(namespace)
    except ValueError as error:
        raise ValueError(f"{quoted}: {error}") from None
    files = {"ca": ca, "cert": cert, "key": key}
    files = {name: path or query.get(name) for name, path in files.items()}
    if any(files.values()) and not tls:
        raise ValueError(
            f"{quoted}: ca, cert and key need TLS (beats+tls://, tcp+tls://, https:// or es+https://)"
        )
    if files["key"] and not files["cert"]:
        raise ValueError(f"{quoted}: a key needs its cert")
    if "api_key" in query:
        raise ValueError(f"{quoted}: an API key does not belong into a URL; set {API_KEY} in the environment")
    if unknown := set(query) - set(_FILES):
        extra = ", and namespace" if scheme == "es" else ""
        raise ValueError(f"{quoted}: unknown option {min(unknown)}; known are ca, cert and key{extra}")
    return Target(
        "http" if scheme == "https" else scheme,
        host,
        port or _PORTS[scheme],
        tls,
        parts.path or "/",
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        **files,
        namespace=namespace,
    )


def _quote(url: str) -> str:
    """Return a URL as it was typed, without the parts that may be secret: user, password, path and query."""
    scheme, separator, rest = url.rpartition("://")
    host = rest.partition("?")[0].partition("/")[0].rpartition("@")[2]
    return f"{scheme}{separator}{host:.200}"


def _suggest_scheme(url: str) -> str:
    """Suggest what was probably meant by a URL without a scheme, or with an unknown one."""
    scheme, separator, host = _quote(url).rpartition("://")
    if not separator:
        return f"a URL needs its scheme; did you mean beats://{host}?"
    schemes = [f"{kind}+{layer}" if layer else kind for kind, layers in _LAYERS.items() for layer in layers]
    similar = find_similar(scheme, schemes)
    return f"unknown scheme; did you mean {similar}://{host}?" if similar else ""


def require_client(target: Target) -> None:
    """Check that the library that a target needs, beyond those of a service, is installed.

    Raises:
        ValueError: the library is missing; the message says what to install.
    """
    if target.kind == "es" and find_spec("elasticsearch") is None:
        raise ValueError(
            f"{target}: Elasticsearch's client is not installed; pip install 'logging-lib[elasticsearch]'"
        )
