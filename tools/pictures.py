"""``make pictures``: photograph the demo's report, dashboards and messages, for the documentation.

A mail is photographed as it was received. Slack's and Teams' views of a message are drawn here, and labeled so,
because their own pages need an account.
"""

from __future__ import annotations

import email
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from email.policy import default
from pathlib import Path
from typing import Any

from logging_lib._util import content
from logging_lib._util.times import parse_instant
from logging_lib.watch.evaluate import new_context, with_payload
from logging_lib.watch.loading import load_watch
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.notify.registry import parse_action, render_settings
from logging_lib.watch.scripts import build_result

ROOT = Path(__file__).parents[1]
DEMO, IMAGES, PAGES = ROOT / "build" / "demo", ROOT / "docs" / "images", ROOT / "build" / "pictures"
MAX_BYTES = 300_000
PICTURES = (
    ("report.png", DEMO / "report.html", "", 1280, 1500),
    ("preview.png", ROOT / "build" / "preview" / "index.html", "#inputs?period=24h", 1280, 1500),
    ("mail.png", PAGES / "mail.html", "", 1240, 1060),
    ("slack.png", PAGES / "slack.html", "", 820, 500),
    ("teams.png", PAGES / "teams.html", "", 820, 640),
)
_LINK, _BOLD, _CODE = (re.compile(p) for p in (r"<([^|>]+)\|([^>]+)>", r"\*([^*\n]+)\*", r"`([^`]+)`"))
_MARKDOWN_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")

STYLE = """
body { margin: 0; padding: 20px 24px; color: #1d1c1d; background: #fff; font: 15px/1.46 Lato, Arial, sans-serif; }
.note { margin: 0 0 14px; font-size: 12px; color: #7a7a7a; }
.post { display: flex; gap: 10px; }
.icon { flex: none; width: 36px; height: 36px; border-radius: 6px; background: #2456c7; color: #fff; }
.icon { font: 700 15px/36px Arial; text-align: center; }
.app { margin-left: 4px; padding: 0 4px; border-radius: 3px; background: #e8e8e8; color: #616061; font-size: 10px; }
.time { margin-left: 4px; color: #616061; font-size: 12px; }
.text, .attachment { white-space: pre-wrap; }
.attachment { margin-top: 6px; padding: 2px 0 2px 12px; border-left: 4px solid; border-radius: 4px; }
code { font: 12px/1.5 Menlo, Consolas, monospace; color: #c01343; background: #f6f6f6; overflow-wrap: anywhere; }
.card { max-width: 720px; border: 1px solid #dfdede; border-radius: 6px; overflow: hidden; }
.card > div { margin: 10px 16px; }
.card > .attention { margin: 0 0 12px; padding: 12px 16px; background: #fbe9ea; color: #a4262c; }
.large { font-size: 18px; font-weight: 700; } .bolder { font-weight: 700; }
.small { font-size: 12px; color: #616161; }
dl { display: grid; grid-template-columns: 110px 1fr; gap: 3px 12px; margin: 0; }
dt { font-weight: 700; } dd { margin: 0; }
"""


def draw_mail(file: Path) -> str:
    """Draw a received mail on a wide, light screen and on a narrow, dark one."""
    mail = email.message_from_bytes(file.read_bytes(), policy=default)
    body = mail.get_body(("html",))
    assert body is not None
    page = html.escape(body.get_content())
    style = "border:0;border-radius:10px;color-scheme:{}"
    frame = f'<iframe style="{style}" width="{{}}" height="1000" srcdoc="{{}}"></iframe>'
    wide, narrow = frame.format("light", 760, page), frame.format("dark", 390, page)
    return (
        f'<body style="margin:0;padding:30px;display:flex;gap:30px;background:#c9ced6">{wide}{narrow}</body>'
    )


def draw_slack(post: Mapping[str, Any], time: str) -> str:
    """Draw a post as Slack shows it."""
    attachments = "".join(
        f'<div class="attachment" style="border-color:{html.escape(attachment["color"])}">'
        f"{_draw_markup(attachment['text'])}</div>"
        for attachment in post["attachments"]
    )
    return _page(
        "Slack",
        f'<div class="post"><div class="icon">ll</div><div><b>logging_lib</b><span class="app">APP</span>'
        f'<span class="time">{html.escape(time)}</span><div class="text">{_draw_markup(post["text"])}</div>'
        f"{attachments}</div></div>",
    )


def draw_teams(message: Mapping[str, Any]) -> str:
    """Draw a message's Adaptive Card as Teams shows it."""
    card = message["attachments"][0]["content"]
    return _page("Microsoft Teams", f'<div class="card">{"".join(_draw_blocks(card["body"]))}</div>')


def _draw_blocks(blocks: list[Mapping[str, Any]]) -> Iterator[str]:
    for block in blocks:
        if block["type"] == "Container":
            yield f'<div class="{block["style"]}">{"".join(_draw_blocks(block["items"]))}</div>'
        elif block["type"] == "FactSet":
            facts = "".join(
                f"<dt>{html.escape(fact['title'])}</dt><dd>{html.escape(fact['value'])}</dd>"
                for fact in block["facts"]
            )
            yield f"<div><dl>{facts}</dl></div>"
        else:
            kinds = " ".join(str(block.get(key, "")).lower() for key in ("weight", "size"))
            text = _MARKDOWN_LINK.sub(r'<a href="\2">\1</a>', html.escape(block["text"]))
            text = re.sub(r"^- ", "• ", _CODE.sub(r"<code>\1</code>", text))
            yield f'<div class="{kinds}">{text}</div>'


def _draw_markup(text: str) -> str:
    text = _LINK.sub(lambda match: f'<a href="{match[1]}">{match[2]}</a>', text.strip("\n"))
    return _BOLD.sub(r"<b>\1</b>", _CODE.sub(r"<code>\1</code>", text))


def _page(product: str, body: str) -> str:
    note = f"A rendering of the message; {product} itself looks a little different."
    return f'<meta charset="utf-8"><style>{STYLE}</style><p class="note">{note}</p>{body}'


def render_teams(alert: Mapping[str, Any]) -> Mapping[str, Any]:
    """Render the message that ``watchers/templates/teams.json`` sends for an alert of the demo."""
    folder = content.path("watchers")
    watch, time = load_watch(folder / f"{alert['watch']}.json"), parse_instant(alert["time"])
    action = parse_action(json.loads((folder / "templates" / "teams.json").read_text("utf-8")))
    payload = {"result": build_result(alert["findings"])}
    context = with_payload(new_context(watch, now=time, scheduled=time), payload)
    (message,) = render_settings(action, context, Notification(id="picture", action="teams", created_at=time))
    return message.content


def write_pages() -> None:
    """Write the pages of the demo's first alert, to be photographed."""
    PAGES.mkdir(parents=True, exist_ok=True)
    alert = json.loads((DEMO / "alerts.jsonl").read_text("utf-8").splitlines()[0])
    post = json.loads((DEMO / "slack.jsonl").read_text("utf-8").splitlines()[0])
    pages = {
        "mail": draw_mail(DEMO / "mail" / "001.eml"),
        "slack": draw_slack(post, f"{parse_instant(alert['time']):%H:%M}"),
        "teams": draw_teams(render_teams(alert)),
    }
    for name, page in pages.items():
        (PAGES / f"{name}.html").write_text(page, "utf-8")


def main() -> int:
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    chromium = next(found, None)
    if chromium is None:
        print("no chromium on PATH: apt-get install chromium", file=sys.stderr)
        return 2
    IMAGES.mkdir(parents=True, exist_ok=True)
    write_pages()
    chosen = sys.argv[1:] or [name for name, *_ in PICTURES]
    for name, page, anchor, width, height in PICTURES:
        if name not in chosen:
            continue
        out = IMAGES / name
        with tempfile.TemporaryDirectory() as profile:
            command = [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={profile}", "--virtual-time-budget=20000",
                f"--window-size={width},{height}", f"--screenshot={out}", page.as_uri() + anchor,
            ]  # fmt: skip
            subprocess.run(command, capture_output=True, check=True, timeout=120)
        size = out.stat().st_size
        print(f"{out.relative_to(ROOT)}: {size / 1000:.0f} kB")
        if size > MAX_BYTES:
            print(f"more than {MAX_BYTES / 1000:.0f} kB: too large for the README", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
