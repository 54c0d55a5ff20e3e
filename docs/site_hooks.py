"""Makes a site of pages that are written to be read in the repository, too.

Pages link to files beside ``docs/`` (examples, pipelines, benchmarks): each becomes a page of its own, and
a folder a page that lists what is in it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_LANGUAGES = {
    ".py": "python",
    ".yml": "yaml",
    ".yaml": "yaml",
    ".json": "json",
    ".conf": "text",
    ".service": "ini",
}
_ADDED = (
    *("examples/README.md", "benchmarks/README.md", "pipelines/README.md"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"),
)
_FOLDERS = {"adr": "Decisions", "runbooks": "Runbooks"}


def on_files(files: Files, config: Any) -> Files:
    """Add what the pages link to, and what that links to."""
    waiting = [f"docs/{file.src_uri}" for file in files.documentation_pages()] + list(_ADDED)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = ROOT / name
        if not name.startswith("docs/"):
            if path.is_dir():
                files.append(File.generated(config, f"{name}/index.md", content=_listing(name)))
                waiting += [_page(f"{name}/{one.name}") for one in sorted(path.iterdir()) if _shown(one)]
                continue
            if path.suffix == ".md":
                files.append(File.generated(config, name, content=path.read_text("utf-8")))
            else:
                files.append(File.generated(config, f"{name}.md", content=_code(path, name)))
        elif path.is_dir():
            files.append(File.generated(config, _uri(name), content=_contents(path)))
        if path.suffix == ".md":
            waiting += [target for _, target in _targets(path.read_text("utf-8"), name) if target is not None]
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    uri = page.file.src_uri
    in_docs = (ROOT / "docs" / uri).exists()
    name = f"docs/{uri}" if in_docs else uri
    here = posixpath.dirname(uri)

    def moved(match: re.Match[str]) -> str:
        target = _target(match[2], name)
        if target is None:
            return match[0]
        return f"{match[1]}{posixpath.relpath(_uri(target), here or '.')}{match[3] or ''}{match[4]}"

    return _indented(_LINK.sub(moved, markdown))


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Show what introduces a code block in a docstring as prose does: ``as in::`` ends in one colon."""
    return html.replace("::</p>", ":</p>")


def _targets(text: str, name: str) -> Iterator[tuple[str, str | None]]:
    for match in _LINK.finditer(text):
        yield match[2], _target(match[2], name)


def _target(link: str, name: str) -> str | None:
    """The path below the root of what a page links to, or None if that is not a file of this project."""
    if ":" in link or link.startswith("/") or link.endswith(".html"):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
    if path == "README.md":
        return "docs/index.md"
    return _page(path) if (ROOT / path).exists() else None


def _page(path: str) -> str:
    """A folder's own page is its README."""
    readme = f"{path}/README.md"
    return readme if (ROOT / readme).exists() else path


def _uri(target: str) -> str:
    """Where in the site's sources a file stands."""
    if target.startswith("docs/"):
        inside = target.removeprefix("docs/")
        return inside if Path(inside).suffix else f"{inside}/index.md"
    if (ROOT / target).is_dir():
        return f"{target}/index.md"
    return target if target.endswith(".md") else f"{target}.md"


def _shown(path: Path) -> bool:
    return not path.name.startswith((".", "__")) and (path.is_dir() or path.suffix in _LANGUAGES)


def _listing(name: str) -> str:
    shown = [one.name for one in sorted((ROOT / name).iterdir()) if _shown(one)]
    return "\n".join([f"# {name}", "", *(f"- [{one}]({one})" for one in shown), ""])


def _contents(folder: Path) -> str:
    """The pages of a folder of ours, by their titles."""
    pages = [f"- [{_title(page)}]({page.name})" for page in sorted(folder.glob("*.md"))]
    return "\n".join([f"# {_FOLDERS.get(folder.name, folder.name.capitalize())}", "", *pages, ""])


def _code(path: Path, name: str) -> str:
    text = path.read_text("utf-8")
    return f"# {name}\n\n````{_LANGUAGES.get(path.suffix, 'text')}\n{text}\n````\n"


def _indented(text: str) -> str:
    """What belongs to an item of a list is indented by 2 or 3 in the repository's Markdown, by 4 in the site's."""
    made, width, fence = [], 0, False
    for line in text.split("\n"):
        marker = None if fence else re.match(r"(\d+\. |- )", line)
        if line.startswith("```"):
            fence, width = not fence, 0
        elif marker:
            if width == 0 and made and made[-1].strip():
                made.append("")  # a list begins after a blank line
            width = len(marker[0])
        elif line.strip() and not line.startswith(" " * width):
            width = 0
        made.append(" " * (4 - width) + line if width and not marker and line.strip() else line)
    return "\n".join(made)


def _title(page: Path) -> str:
    return page.read_text("utf-8").partition("\n")[0].removeprefix("# ").strip()
