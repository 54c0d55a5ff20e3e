"""The commands, against a server that answers as Kibana does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.dashboards.kibana import validate
from logging_lib.dashboards.kibana.client import PREFIX
from logging_lib.profile import Profile
from logging_lib.store.connection import PREFIX as ELASTICSEARCH
from tests.dashboards import fake_kibana

Call = Callable[..., Result]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[fake_kibana.Server]:
    monkeypatch.chdir(tmp_path)
    for prefix in (PREFIX, ELASTICSEARCH):
        for name in ("API_KEY", "USER", "PASSWORD", "CA"):
            monkeypatch.delenv(prefix + name, raising=False)
    with fake_kibana.running(fake_kibana.Server()) as made:
        monkeypatch.setenv(f"{PREFIX}URL", made.url)
        yield made


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["dashboards", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_build_writes_what_kibana_imports(server: fake_kibana.Server, profile: Profile) -> None:
    profiles.save(profile, "profile.json")
    said = call("build", "--profile", "profile.json", "-o", "out").stdout
    files = sorted(Path("out").iterdir())
    assert [file.name.rpartition("-")[0] for file in files] == ["logging-lib-model-loans-1", "logging"]
    assert f"{files[0]}: 1 dashboard, {5 + 2 + 2 * len(profile.features)} panels" in said
    assert validate.check_ndjson(files[1].read_text()) == []
    assert "profile.json" in call("build", "--profile", "nothing/profile.json", code=2).stderr


def test_own_specs_make_own_dashboards(server: fake_kibana.Server) -> None:
    Path("specs").mkdir()
    Path("specs/mine.yml").write_text(
        "title: Mine\npanels:\n- {title: All, chart: metric, metric: count}\n- {title: Newest, chart: events, "
        "columns: ['@timestamp', ml.model.name]}\n"
    )
    assert "1 dashboard, 2 panels" in call("build", "--specs", "specs").stdout
    assert "4 of 4 objects imported" in call("import", "--specs", "specs").stdout
    assert ("dashboard", "logging-lib-mine") in server.spaces["default"]
    Path("specs/mine.yml").write_text("title: Mine\npanels:\n- {title: All, chart: metric, metric: cuont}\n")
    assert (
        "specs/mine.yml:3: metric: 'cuont' is not one of" in call("import", "--specs", "specs", code=2).stderr
    )


def test_an_import_over_itself_changes_nothing(server: fake_kibana.Server, profile: Profile) -> None:
    said = call("import").stdout
    assert "15 of 15 objects imported" in said
    assert f"{server.url}/app/dashboards#/view/logging-lib-fleet" in said
    assert "15 objects, unchanged" in call("import").stdout
    assert call("diff").stdout == "0 of 15 objects differ\n"
    assert "3 of 15 objects differ" in call("diff", "--all").stdout  # Kibana rewrote the saved searches
    profiles.save(profile, "profile.json")
    assert "16 of 16 objects imported" in call("import", "--profile", "profile.json").stdout
    assert "15 objects, unchanged" in call("import").stdout


def test_an_edited_dashboard_is_refused_and_shown(server: fake_kibana.Server) -> None:
    call("import", "--space", "team-a")
    fleet = server.spaces["team-a"]["dashboard", "logging-lib-fleet"]
    fleet["attributes"]["title"] = "Mine\x1b[31m"
    said = call("import", "--space", "team-a", code=1).stderr
    assert "refused: dashboard logging-lib-fleet: somebody edited it" in said
    assert "nothing was changed" in said
    said = call("diff", "--space", "team-a", code=1).stdout
    assert "dashboard logging-lib-fleet: edited" in said
    assert '-  "title": "Mine' in said
    assert '+  "title": "ML 1 · Fleet: every model at a glance",' in said
    assert "\x1b" not in said
    call("import", "--space", "team-a", "--new-copies")
    assert fleet in server.spaces["team-a"].values()
    call("import", "--space", "team-a", "--force")
    call("diff", "--space", "team-a")


def test_an_export_can_be_imported_into_another_kibana(server: fake_kibana.Server) -> None:
    assert (
        "this space has no dashboards of logging_lib" in call("export", "--out", "all.ndjson", code=2).stderr
    )
    call("import")
    assert "all.ndjson: 15 objects" in call("export", "--out", "all.ndjson").stdout
    call("export", "-o", "one.ndjson", "--id", "logging-lib-inputs")
    assert "not.there" in call("export", "-o", "x.ndjson", "--id", "not.there", code=2).stderr
    assert "15 of 15 objects imported" in call("import", "all.ndjson", "--space", "team-a").stdout
    said = call("import", "all.ndjson", "--space", "team-a", code=1).stderr
    assert (
        "not imported: dashboard logging-lib-fleet (ML 1 · Fleet: every model at a glance): is there already"
        in said
    )
    assert "15 of 15" in call("import", "all.ndjson", "--space", "team-a", "--force").stdout


def test_a_file_that_kibana_would_not_take_is_refused(server: fake_kibana.Server) -> None:
    for text, says in (
        ("", "this file has no saved objects"),
        ("{", "bad.ndjson:1: not JSON"),
        ("\n[1]", "bad.ndjson:2: not a saved object"),
        ('{"type": "tag", "id": "x", "attributes": {}, "references": [], "coreMigrationVersion": "10.2.0"}',
         "tag x was exported by a Kibana of 10.2.0 or later, this Kibana is 9.1.2: upgrade it"),
        ('{"type": "tag", "id": "x", "attributes": {}, "references": [], "typeMigrationVersion": "11.0.0"}',
         "the file comes from a newer Kibana"),
    ):  # fmt: skip
        Path("bad.ndjson").write_text(text)
        assert says in call("import", "bad.ndjson", code=2).stderr
    assert "not both" in call("import", "--force", "--new-copies", code=2).stderr
    assert not server.spaces["default"]


def test_existing_dashboards_are_listed(server: fake_kibana.Server) -> None:
    assert "0 objects" in call("list").stdout
    call("import")
    found = json.loads(call("list", "--json").stdout)
    assert {one["type"] for one in found} == {"dashboard", "search", "index-pattern", "tag"}
    assert {one["url"] for one in found if one["type"] == "dashboard"} >= {
        f"{server.url}/app/dashboards#/view/logging-lib-fleet"
    }
    said = call("list", "--space", "default").stdout
    assert "logging-lib-investigate" in said
    assert "15 objects in the space default" in said


def test_without_a_kibana_the_message_names_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(f"{PREFIX}URL", raising=False)
    assert "LOGGING_LIB_KIBANA_URL, such as https://localhost:5601" in call("list", code=2).stderr
    said = call("import", "--kibana", "https://me:secret@kibana", code=2).stderr
    assert "leave user and password out of the URL" in said
    assert "secret" not in said
