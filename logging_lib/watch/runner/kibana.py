"""Where Kibana is: what turns the query of a finding into a link to Discover."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from logging_lib.watch.actions import SettingsError
from logging_lib.watch.model import Watch
from logging_lib.watch.validation.metadata import is_http_address

VARIABLE = "LOGGING_LIB_KIBANA_URL"


def with_address(watches: Iterable[Watch], environ: Mapping[str, str]) -> list[Watch]:
    """The watches with ``metadata.kibana_url`` from the environment, where they leave it empty.

    Raises:
        SettingsError: the variable holds no http address.
    """
    url = environ.get(VARIABLE, "").rstrip("/")
    if not is_http_address(url):
        raise SettingsError(f"{VARIABLE}: {url!r}: write such as https://kibana.example.org/s/ml")
    made = []
    for watch in watches:
        if url and watch.metadata.get("kibana_url") == "":
            metadata = {**watch.metadata, "kibana_url": url}
            made.append(
                Watch(watch.id, watch.definition.model_copy(update={"metadata": metadata}), watch.file)
            )
        else:
            made.append(watch)
    return made
