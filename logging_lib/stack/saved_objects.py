"""Deploy the stack's saved objects to one space of Kibana: dashboards, data views and saved searches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logging_lib._util.ownership import LEFT, REFUSED, REMOVED, Change, OwnershipState, plan_change
from logging_lib.dashboards.kibana import reconcile
from logging_lib.dashboards.kibana.client import Kibana
from logging_lib.dashboards.kibana.objects import saved_objects
from logging_lib.dashboards.kibana.reconcile import Key, KibanaStatus
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.stack.capabilities import OLDEST
from logging_lib.stack.doctor import DoctorFinding, FindingLevel
from logging_lib.store.connection import ConnectionSettings
from logging_lib.store.port import StoreError


class SavedObjects:
    """The saved objects of one space, to compare, deploy and remove."""

    def __init__(self, kibana: Kibana, folder: Path) -> None:
        """
        Args:
            folder: ``kibana_dashboards``.

        Raises:
            KibanaError: Kibana does not respond.
        """
        self._kibana = kibana
        self._wanted: list[dict[str, Any]] = saved_objects(load_dashboards(folder))
        self.version = kibana.version()

    def status(self) -> list[tuple[str, OwnershipState]]:
        """Return the name and the state of each object."""
        return [(self._display_name(key), state) for key, state in self._inspect().states.items()]

    def deploy(self, *, force: bool = False, dry_run: bool = False) -> list[Change]:
        """Create what is missing and update what is ours; change nothing if one object is refused.

        Raises:
            KibanaError: Kibana refuses the import.
        """
        current = self._inspect()
        differ = reconcile.diff_objects(current, self._wanted)
        changes = [self._plan_change(key, current, differ, force=force) for key in current.states]
        if dry_run or current.current or any(change.action == REFUSED for change in changes):
            return changes
        imported = reconcile.import_objects(self._kibana, self._wanted, version=self.version)
        if imported.refused:
            raise StoreError(f"{self._kibana.url}: not all was imported: {'; '.join(imported.refused)}")
        return changes

    def destroy(self, *, force: bool = False, dry_run: bool = False) -> list[Change]:
        """Remove our objects; keep the data views and the tag if a remaining object needs them."""
        current = self._inspect()
        protected = [key for key in current.objects if current.note(key) and not force]
        staying = [current.objects[key] for key in protected]
        staying += [
            saved
            for saved in self._kibana.export_ours()
            if (saved["type"], saved["id"]) not in current.states
        ]
        needed = {
            (ref["type"], ref["id"])
            for saved in staying
            for ref in saved["references"]
            if ref["type"] != "dashboard"
        }
        gone = [key for key in current.objects if key not in protected and key not in needed]
        changes = [Change(self._display_name(key), REMOVED) for key in reversed(gone)]
        for key in current.objects:
            if key in protected:
                note = f"{current.note(key)}; --force removes it all the same"
                changes.append(Change(self._display_name(key), LEFT, note))
            elif key in needed:
                changes.append(Change(self._display_name(key), LEFT, "something that stays needs it"))
        if not dry_run:
            reconcile.remove_objects(self._kibana, gone)
        return changes

    def _inspect(self) -> KibanaStatus:
        return reconcile.inspect_objects(self._kibana, self._wanted, version=self.version)

    def _plan_change(self, key: Key, current: KibanaStatus, differ: dict[Key, str], *, force: bool) -> Change:
        return plan_change(
            self._display_name(key),
            current.states[key],
            note=current.note(key),
            diff=differ.get(key, ""),
            force=force,
        )

    def _display_name(self, key: Key) -> str:
        return f"Kibana {key[0]} {key[1]}"


@contextmanager
def open_saved_objects(settings: ConnectionSettings, space: str, folder: Path) -> Iterator[SavedObjects]:
    """Open the saved objects of one space. Raise StoreError."""
    with Kibana(settings, space=space) as kibana:
        yield SavedObjects(kibana, folder)


def diagnose_kibana(settings: ConnectionSettings, space: str, folder: Path) -> list[DoctorFinding]:
    """Report whether Kibana responds, its version, and the state of the dashboards."""
    try:
        with open_saved_objects(settings, space, folder) as saved:
            findings = [DoctorFinding(FindingLevel.OK, "Kibana", f"{settings.url}: Kibana {saved.version}")]
            if _version_numbers(saved.version) < OLDEST:
                oldest = ".".join(map(str, OLDEST))
                text = f"Kibana {saved.version} is older than {oldest}: dashboards may look odd"
                findings.append(
                    DoctorFinding(
                        FindingLevel.WARNING, "Kibana", text, f"upgrade Kibana to {oldest} or later"
                    )
                )
            wrong = [(name, state) for name, state in saved.status() if state is not OwnershipState.CURRENT]
    except StoreError as error:
        return [
            DoctorFinding(FindingLevel.ERROR, "Kibana", str(error), "see the message, and docs/dashboards.md")
        ]
    for name, state in wrong:
        edited = state in (OwnershipState.EDITED, OwnershipState.FOREIGN)
        level = FindingLevel.NOTE if edited else FindingLevel.WARNING
        remedy = "logging-lib stack deploy --kibana URL"
        if edited:
            remedy += " --diff --dry-run shows the difference, --force overwrites it"
        findings.append(DoctorFinding(level, "dashboards", str(state), remedy, subject=name))
    if not wrong:
        findings.append(DoctorFinding(FindingLevel.OK, "dashboards", "all saved objects are current"))
    return findings


def _version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
