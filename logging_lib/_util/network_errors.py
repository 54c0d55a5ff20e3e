"""Explanations of why a request had no answer and what to do, without the wrappers of the libraries in between."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from json import JSONDecodeError

from logging_lib._util.text import one_line

# The path of a URL is removed as well, because that of a webhook is a secret.
_WRAPPING = re.compile(
    r"\w*Connection(?:Pool)?\([^)]*\):\s*|<[\w.]+ object at 0x[0-9a-f]+>:\s*|\[Errno -?\d+\]\s*"
    r"|\[SSL[^\]]*\]\s*|\s*\(_ssl\.c:\d+\)|Max retries exceeded with url: \S*\s*"
)


def describe_network_error(
    place: str,
    error: BaseException,
    *,
    server: str,
    ca_setting: str = "REQUESTS_CA_BUNDLE",
    protocols: str = "http or https",
) -> str:
    """Describe which server gave no answer, why, and what to do.

    ``http://es:9200: no answer: Connection refused; is it running, and does it speak http or https?``

    Args:
        place: scheme, host and port. The rest of an address may be a secret.
        server: what should be there: ``Kibana``, ``an Elasticsearch``.
        ca_setting: the variable that names the file of a certificate authority.
        protocols: those that such a server may speak.
    """
    chain = list(_unwrap(error, set()))
    cause = explain_network_error(error)
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in chain):
        if "mismatch" in cause:
            remedy = "use a host name or address that its certificate is for"
        else:
            remedy = f"set {ca_setting} to the file of the authority that signed its certificate"
    elif any(isinstance(each, socket.gaierror) for each in chain):
        remedy = "check the host name"
    elif _is_timeout(chain):
        remedy = "it is overloaded, or something between drops packets"
    elif any(isinstance(each, ConnectionError | ssl.SSLError) for each in chain):
        remedy = f"is it running, and does it speak {protocols}?"
    else:
        remedy = f"is that {server}?"
    return f"{place}: no answer: {cause:.300}; {remedy}"


def explain_network_error(error: BaseException) -> str:
    """Return why there was no answer: ``Connection refused``, ``Name or service not known``, ``timed out``.

    An error of requests, urllib3 or elastic_transport wraps that of the system, which explains it best.
    """
    chain = list(_unwrap(error, set()))
    for cause in reversed(chain):
        if isinstance(cause, OSError) and cause.strerror:
            return one_line(_WRAPPING.sub("", cause.strerror))
    if any(isinstance(cause, JSONDecodeError) for cause in chain):
        return f"the answer is not JSON: {one_line(chain[-1])}"
    if _is_timeout(chain):
        return "timed out"
    text = one_line(_WRAPPING.sub("", str(chain[-1])))
    return text.partition("(Caused by ")[0].strip() or type(chain[-1]).__name__


def _is_timeout(chain: list[BaseException]) -> bool:
    return any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in chain)


def _unwrap(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield an error and its causes, the outermost first."""
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
    for cause in (*inner, *(getattr(error, "errors", None) or ())):
        if isinstance(cause, BaseException):
            yield from _unwrap(cause, seen)
