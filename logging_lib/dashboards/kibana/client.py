"""Call Kibana's saved-objects API: import, export, delete. Uses only calls that every Kibana from 8.15 to 9.x has.

Kibana 9 keeps ``_import`` and ``_export`` as public APIs and declares the others internal, so existing objects are
read by an export. Errors name their remedy.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests

from logging_lib._util.network_errors import describe_network_error
from logging_lib._util.text import printable
from logging_lib.dashboards.kibana.objects import TAG, ndjson
from logging_lib.store.connection import PREFIX as ELASTICSEARCH
from logging_lib.store.connection import ConnectionSettings
from logging_lib.store.connection import read_settings as _settings_from
from logging_lib.store.port import StoreError

Json = dict[str, Any]

PREFIX: Final = "LOGGING_LIB_KIBANA_"
TIMEOUT: Final = 120.0
_SPACE = re.compile(r"[a-z0-9_-]{1,100}")
_MEMBERS: Final = ("index-pattern", "tag", "search", "dashboard")


class KibanaError(StoreError):
    """Kibana refuses a request or does not respond. ``status`` is the HTTP status, 0 without a response."""

    def __init__(self, message: str, *, status: int = 0, body: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The result of an import: the number of imported objects, and why the others were refused."""

    taken: int
    refused: tuple[str, ...] = ()
    conflicts: int = 0


def settings_from(
    environment: Mapping[str, str] = os.environ, *, url: str | None = None
) -> ConnectionSettings:
    """Read the settings from ``LOGGING_LIB_KIBANA_URL``, ``_API_KEY``, ``_USER``, ``_PASSWORD`` and ``_CA``.

    Without credentials of its own, it uses those of ``LOGGING_LIB_ELASTICSEARCH_*``, because Kibana authenticates
    against Elasticsearch. The same holds for the certificate authority's file.

    Raises:
        StoreError: a variable is wrong; the message names it and what to set.
    """
    variables = dict(environment)
    names = ("API_KEY", "USER", "PASSWORD")
    if not any(variables.get(PREFIX + name) for name in names):
        variables |= {PREFIX + name: variables.get(ELASTICSEARCH + name, "") for name in names}
    if not variables.get(PREFIX + "CA"):
        variables[PREFIX + "CA"] = variables.get(ELASTICSEARCH + "CA", "")
    url_name = "--kibana" if url else ""
    return _settings_from(
        variables, url=url, url_name=url_name, prefix=PREFIX, example="https://localhost:5601"
    )


class Kibana:
    """Calls to one space of one Kibana."""

    def __init__(
        self, settings: ConnectionSettings, *, space: str = "default", timeout: float = TIMEOUT
    ) -> None:
        """
        Args:
            settings: ``url`` includes the base path, if there is one.
            space: the id of the space, as in its address.
            timeout: seconds to wait for one response.

        Raises:
            StoreError: the space's id is invalid, or the authority's file does not exist.
        """
        if not _SPACE.fullmatch(space):
            raise StoreError(
                f"{space!r:.80} is not the id of a space: it has lower-case letters, digits, '_' and '-'"
            )
        if settings.ca is not None and not Path(settings.ca).is_file():
            raise StoreError(f"{PREFIX}CA: {settings.ca}: there is no such file")
        self.url, self.space = settings.url, space
        self._base = settings.url + ("" if space == "default" else f"/s/{space}")
        self._timeout = timeout
        self._session = requests.Session()
        self._session.trust_env = False  # neither .netrc nor a proxy may get the credentials
        self._session.verify = settings.ca or True
        # Kibana refuses changes without kbn-xsrf, and some APIs of 9.x without the second.
        self._session.headers.update({"kbn-xsrf": "logging-lib", "x-elastic-internal-origin": "logging-lib"})
        if settings.api_key:
            self._session.headers["Authorization"] = f"ApiKey {settings.api_key}"
        elif settings.user and settings.password:
            pair = f"{settings.user}:{settings.password}".encode()
            self._session.headers["Authorization"] = f"Basic {b64encode(pair).decode()}"

    def version(self) -> str:
        """Return Kibana's version.

        Raises:
            KibanaError: it does not respond, is not ready, or is not Kibana.
        """
        answer = self._call("GET", "/api/status")
        number = answer.get("version", {}).get("number") if isinstance(answer, dict) else None
        if not isinstance(number, str):
            raise KibanaError(
                f"{self.url}: does not say its version; is that a Kibana, and who are we to it?"
            )
        return number

    def import_objects(
        self, objects: Iterable[Json], *, overwrite: bool = False, new_copies: bool = False
    ) -> ImportResult:
        """Import saved objects.

        Args:
            overwrite: overwrite objects with the same id; otherwise each is a conflict, and is left unchanged.
            new_copies: import under new ids, so that no existing object is changed.

        Raises:
            KibanaError: nothing was imported.
        """
        documents = list(objects)
        params = {"createNewCopies": "true"} if new_copies else {"overwrite": "true"} if overwrite else {}
        content = ndjson(documents).encode()
        file = {"file": ("logging-lib.ndjson", content, "application/ndjson")}
        answer = self._call("POST", "/api/saved_objects/_import", params=params, files=file)
        if not isinstance(answer, dict) or "success" not in answer:
            raise KibanaError(f"{self.url}: the import was answered with {str(answer)[:200]!r}")
        errors = answer.get("errors") or []
        refused = tuple(_explain_refusal(error) for error in errors)
        conflicts = sum("conflict" in error.get("error", {}).get("type", "") for error in errors)
        return ImportResult(int(answer.get("successCount", 0)), refused, conflicts)

    def export_ours(self) -> list[Json]:
        """Export everything with our tag, and what it refers to: data views and the tag itself.

        Raises:
            KibanaError: the export is refused.
        """
        body = {
            "type": ["dashboard", "search"],
            "hasReference": {"type": "tag", "id": TAG},
            "includeReferencesDeep": True,
        }
        return self._export(body)

    def export(self, objects: Sequence[tuple[str, str]]) -> list[Json]:
        """Export these (type, id), with everything that they refer to.

        Raises:
            KibanaError: one of them does not exist, or may not be read.
        """
        object_references = [{"type": kind, "id": identity} for kind, identity in objects]
        return self._export({"objects": object_references, "includeReferencesDeep": True})

    def delete(self, objects: Sequence[tuple[str, str]]) -> None:
        """Remove these (type, id); those that do not exist are skipped.

        Raises:
            KibanaError: some could not be removed.
        """
        if not objects:
            return
        object_references = [{"type": kind, "id": identity} for kind, identity in objects]
        answer = self._call(
            "POST", "/api/saved_objects/_bulk_delete", params={"force": "true"}, json_body=object_references
        )
        for status in answer.get("statuses", ()) if isinstance(answer, dict) else ():
            error = status.get("error", {})
            if not status.get("success") and error.get("statusCode") != 404:
                reason = printable(str(error.get("message", "no reason was given")))
                raise KibanaError(
                    f"{self.url}: {status.get('type')} {status.get('id')} was not removed: {reason:.300}"
                )

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Kibana:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _export(self, body: Json) -> list[Json]:
        answer = self._call("POST", "/api/saved_objects/_export", json_body=body, lines=True)
        return [document for document in answer if document.get("type") in _MEMBERS]

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json_body: Any = None,
        files: Any = None,
        lines: bool = False,
    ) -> Any:
        about = f"{self._base}{path}"
        try:
            response = self._session.request(
                method,
                about,
                params=params,
                json=json_body,
                files=files,
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            described = describe_network_error(self.url, error, server="Kibana", ca_setting=f"{PREFIX}CA")
            raise KibanaError(described) from error
        if 300 <= response.status_code < 400:
            target = urlsplit(response.headers.get("Location", "")).path or "elsewhere"
            raise KibanaError(
                f"{about}: leads to {printable(target):.100}: a login page, or a base path that the URL lacks; "
                f"set {PREFIX}API_KEY, and the URL as the browser shows it, up to /app",
                status=response.status_code,
            )
        if response.status_code >= 400:
            raise _build_refusal_error(response, about)
        try:
            if lines:
                documents = [json.loads(line) for line in response.content.splitlines() if line.strip()]
                if not all(isinstance(document, dict) for document in documents):
                    raise ValueError
                return documents
            return response.json()
        except ValueError as error:
            raise KibanaError(
                f"{about}: the answer is not JSON but {printable(response.text[:60])!r}; is that a Kibana?",
                status=response.status_code,
            ) from error


def dashboard_url(settings: ConnectionSettings, space: str, identity: str) -> str:
    """Return the URL at which a person views a dashboard."""
    base = settings.url + ("" if space == "default" else f"/s/{space}")
    return f"{base}/app/dashboards#/view/{quote(identity)}"


def explain_newer(objects: Iterable[Json], version: str) -> str | None:
    """Explain that objects come from a newer Kibana than ``version``; None if none does.

    ``coreMigrationVersion`` names the Kibana; only Kibana knows a type's own version, and refuses it.
    """
    ours = _parse_version(version)
    for document in objects:
        theirs = str(document.get("coreMigrationVersion", "0"))
        if _parse_version(theirs)[:2] > ours[:2]:
            return (
                f"{document.get('type')} {document.get('id')} was exported by a Kibana of {theirs} or later"
            )
    return None


def _parse_version(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _build_refusal_error(response: requests.Response, about: str) -> KibanaError:
    status, reason, body = response.status_code, "", None
    try:
        body = response.json()
        if isinstance(body, dict):
            missing = (body.get("attributes") or {}).get("objects") or []
            missing_objects = [
                f"{reference.get('type')} {reference.get('id')}"
                for reference in missing
                if isinstance(reference, dict)
            ]
            reason = str(body.get("message", "")) + (
                f": {', '.join(missing_objects)}" if missing_objects else ""
            )
    except ValueError:
        reason = response.text[:200]
    reason = printable(reason or response.reason or "no reason was given")
    remedy = {
        401: f"set {PREFIX}API_KEY, or {PREFIX}USER and {PREFIX}PASSWORD, to valid ones",
        403: "the user or API key lacks the privilege Saved Objects Management: All in this space, see "
        "docs/dashboards.md",
        404: "is that a Kibana, with its base path, and is there such a space?",
        413: "raise savedObjects.maxImportPayloadBytes in kibana.yml, or the limit of the proxy before it",
        429: "Kibana is too busy, try again later",
        502: "the proxy does not reach Kibana",
        503: "Kibana is not ready yet, try again in a minute",
    }.get(status, "see Kibana's log" if status >= 500 else "")
    if "more recent version" in reason or "newer version" in reason:
        remedy = "the file comes from a newer Kibana: upgrade this one, or export it from one of this version"
    message = f"{about}: {status} {reason:.500}" + (f"; {remedy}" if remedy else "")
    return KibanaError(message, status=status, body=body)


def _explain_refusal(error: Mapping[str, Any]) -> str:
    """Explain why one object was not imported, and what to do."""
    about = printable(f"{error.get('type')} {error.get('id')}")
    title = (error.get("meta") or {}).get("title") or error.get("title")
    if title:
        about += f" ({printable(str(title)):.80})"
    cause = error.get("error") or {}
    match cause.get("type"):
        case "conflict":
            return f"{about}: is there already; --force replaces it, --new-copies adds another"
        case "ambiguous_conflict":
            destinations = ", ".join(
                str(destination.get("id")) for destination in cause.get("destinations", ())
            )
            return f"{about}: several are there already: {printable(destinations):.200}; --new-copies adds another"
        case "missing_references":
            missing = ", ".join(
                f"{destination.get('type')} {destination.get('id')}"
                for destination in cause.get("references", ())
            )
            return f"{about}: refers to {printable(missing):.300}, which does not exist; import that first"
        case "unsupported_type":
            return f"{about}: this Kibana does not know the type, or may not import it"
    reason = printable(str(cause.get("message") or cause.get("type") or "no reason was given"))
    return f"{about}: {reason:.300}"
