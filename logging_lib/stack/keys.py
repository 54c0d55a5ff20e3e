"""Create API keys with the privileges of one of our roles, each in a file that only its owner can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from logging_lib._util.ownership import CREATED, REMOVED, UNCHANGED, Change
from logging_lib.stack.marks import OWNER
from logging_lib.store.connection import Connection, ElasticsearchError
from logging_lib.store.port import StoreError

PREFIX = "logging-lib-"


def role_names(folder: Path) -> list[str]:
    """List the roles: ``writer``, ``reader``, ..."""
    return sorted(file.stem.removeprefix(PREFIX) for file in folder.glob(f"{PREFIX}*.json"))


def create_keys(
    connection: Connection,
    roles: Iterable[str],
    *,
    folder: Path,
    into: Path,
    expiration: str | None = None,
    dry_run: bool = False,
) -> list[Change]:
    """Create one key per role, as ``<into>/logging-lib-<role>.key``; an existing file is left unchanged.

    The key holds the role's privileges itself, so the role need not exist in the cluster. A key never has more
    privileges than its creator, and an API key cannot create another one with privileges.

    Args:
        folder: ``pipelines/elasticsearch/roles``.
        into: the folder of the key files.
        expiration: the lifetime, such as ``365d``; default: unlimited.

    Raises:
        StoreError: a role is unknown, the privilege to create keys is missing, or a file cannot be written.
    """
    known = role_names(folder)
    chosen = list(dict.fromkeys(roles))
    for role in chosen:
        if role not in known:
            raise StoreError(f"there is no role {role!r}; there are {', '.join(known)}")
    changes = []
    for role in chosen:
        file = into / f"{PREFIX}{role}.key"
        about = f"API key {PREFIX}{role}"
        if file.exists():
            changes.append(Change(about, UNCHANGED, f"{file} is there; remove it to get a new one"))
            continue
        if not dry_run:
            descriptor = json.loads((folder / f"{PREFIX}{role}.json").read_text("utf-8"))
            _write_secret(file, _create_key(connection, role, descriptor, expiration))
        changes.append(Change(about, CREATED, str(file)))
    return changes


def invalidate_keys(connection: Connection, *, dry_run: bool = False) -> list[Change]:
    """Invalidate the keys that this user created with ``create_keys``."""
    try:
        answer = connection.call("GET", "/_security/api_key", params={"owner": "true", "name": f"{PREFIX}*"})
    except ElasticsearchError as error:
        if error.is_transient:
            raise
        return []
    ours = [
        key
        for key in answer["api_keys"]
        if not key["invalidated"] and key.get("metadata", {}).get("managed_by") == OWNER
    ]
    if ours and not dry_run:
        ids = [key["id"] for key in ours]
        connection.call("DELETE", "/_security/api_key", {"ids": ids, "owner": True})
    return [Change(f"API key {key['name']}", REMOVED, f"id {key['id']}") for key in ours]


def _create_key(connection: Connection, role: str, descriptor: dict[str, Any], expiration: str | None) -> str:
    body: dict[str, Any] = {
        "name": f"{PREFIX}{role}",
        "role_descriptors": {role: descriptor},
        "metadata": {"managed_by": OWNER},
    }
    if expiration is not None:
        body["expiration"] = expiration
    try:
        return str(connection.call("POST", "/_security/api_key", body)["encoded"])
    except ElasticsearchError as error:
        if error.is_transient:
            raise
        raise StoreError(
            f"the API key {PREFIX}{role} cannot be made: {error.reason}; connect with user and password, as "
            "the role logging-lib-deployer or a stronger one, to a cluster with security on"
        ) from error


def _write_secret(file: Path, secret: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise StoreError(f"{file}: cannot be written: {error.strerror or error}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        output.write(secret + "\n")
