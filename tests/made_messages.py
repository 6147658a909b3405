"""Messages for the tests of envelopes, and what is read from their bytes."""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.mime.text import MIMEText

from smtpsend._model.address.mailbox import mailboxes
from smtpsend._model.message.envelope import Envelope


A, B = "a@example.org", "b@example.org"


def plain(text: str = "hi\n", **headers: object) -> EmailMessage:
    """An `EmailMessage` that lacks nothing; `headers` replace or add, None removes."""
    message = EmailMessage()
    given_headers: dict[str, object] = {
        "From": A,
        "To": B,
        "Date": "Tue, 24 Nov 2026 10:00:00 +0000",
        "Message-ID": "<1@example.org>",
    }
    given_headers.update({name.replace("_", "-"): headers[name] for name in headers})
    for name, value in given_headers.items():
        if value is not None:
            message[name] = value
    message.set_content(text)
    return message


def compat(text: str = "hi\n", **headers: object) -> MIMEText:
    """The same with the old API: headers are kept as they are given."""
    message = MIMEText(text)
    message["From"] = A
    for name, value in headers.items():
        del message[name.replace("_", "-")]
        message[name.replace("_", "-")] = value  # type: ignore[assignment]
    return message


def head(content: bytes) -> bytes:
    return content.partition(b"\r\n\r\n")[0] + b"\r\n"


def wire_addresses(found: Envelope, name: str) -> list[str]:
    """The addresses of one header, read from the bytes for the wire."""
    match = re.search(rf"(?ims)^{name}:(.*?)\r\n(?![ \t])".encode(), head(found.content))
    assert match is not None
    return [box.address for box in mailboxes(match[1].decode())]
