"""A mail server in its own process, which may be killed: ``python -m tools.soak.mail PORT FOLDER``.

Each mail is written to a file of the folder before the server accepts it.
"""

from __future__ import annotations

import sys
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

from logging_lib.demo.receivers import SmtpServer


class Mailbox:
    """Saves each mail to its own file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        name = uuid4().hex
        hidden = self._folder / f".{name}.new"
        hidden.write_bytes(envelope.content)
        hidden.rename(self._folder / f"{name}.eml")
        return "250 OK"


def read_mails(folder: Path) -> list[EmailMessage]:
    """Return the mails that a server accepted."""
    mails = []
    for path in sorted(folder.glob("*.eml")):
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        mails.append(mail)
    return mails


def main() -> None:
    server = SmtpServer(Mailbox(Path(sys.argv[2])), int(sys.argv[1]))
    server.start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
