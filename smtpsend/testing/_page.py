"""A message as a web page, for a person who wants to see what a test or program sent."""

from __future__ import annotations

import base64
import contextlib
import re
import tempfile
import webbrowser
from collections.abc import Iterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import escape
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from smtpsend._patterns import pattern


__all__ = ["open_page", "page"]

_SHOWN = ("From", "Sender", "Reply-To", "To", "Cc", "Date", "Message-ID")
_CID = pattern(r"""cid:([^"'\s)>&]+)""", re.IGNORECASE)
# No script runs and nothing is submitted; links open in a tab of their own.
_FRAME = 'sandbox="allow-popups allow-popups-to-escape-sandbox"'
_PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="script-src 'none'; object-src 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 1em; }}
th {{ text-align: left; padding-right: 1em; vertical-align: top; }}
pre, iframe {{ border: 1px solid #888; padding: 0.5em; background: #fff; color: #000; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
iframe {{ width: 100%; height: 60vh; box-sizing: border-box; }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
{headers}
</table>
{parts}
</body>
</html>
"""


def open_page(content: bytes, sender: str, recipients: Sequence[str]) -> Path:
    """Write the page of a message into a new temporary folder, and open a browser.

    Returns:
        The file, which stays.
    """
    path = Path(tempfile.mkdtemp(prefix="smtpsend-")) / "message.html"
    path.write_text(page(content, sender, recipients), "utf-8", "replace")
    webbrowser.open(path.as_uri())
    return path


def page(content: bytes, sender: str, recipients: Sequence[str]) -> str:
    """Make the page: headers, text, HTML with its inline images, attachments.

    Args:
        content: the message.
        sender: the envelope sender.
        recipients: the envelope recipients.
    """
    message = message_from_bytes(content, policy=policy.default)
    rows = [(name, value) for name in _SHOWN if (value := _header(message, name))]
    rows.append(("Envelope", f"{sender or '<>'} to {', '.join(recipients)}"))
    headers = [
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in rows
    ]
    return _PAGE.format(
        title=escape(_header(message, "Subject") or "(no subject)"),
        headers="\n".join(headers),
        parts="\n".join(_shown(list(_leaves(message)))),
    )


def _header(message: EmailMessage, name: str) -> str:
    with contextlib.suppress(Exception):  # the parser fails for some headers
        return ", ".join(str(value) for value in message.get_all(name, []))
    return "(malformed)"


def _leaves(part: EmailMessage) -> Iterator[EmailMessage]:
    """The parts that are not multipart; an attached message is one part."""
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for child in _children(part):
            yield from _leaves(child)
    else:
        yield part


def _shown(parts: list[EmailMessage]) -> Iterator[str]:
    images = {}
    for part in parts:
        name = _header(part, "Content-ID").strip().strip("<>")
        if name:
            images[name] = _data_url(part, part.get_content_type())
    files = []
    for part in parts:
        kind = part.get_content_type()
        if kind not in ("text/plain", "text/html") or _filename(part):
            files.append(part)
        elif kind == "text/html":
            html = _CID.sub(lambda m: images.get(unquote(m[1]), m[0]), _text(part))
            html = f'<base target="_blank">{html}'
            yield f'<h2>HTML</h2>\n<iframe {_FRAME} srcdoc="{escape(html)}"></iframe>'
        else:
            yield f"<h2>Text</h2>\n<pre>{escape(_text(part))}</pre>"
    if files:
        yield "<h2>Files</h2>\n<ul>"
        yield from map(_link, files)
        yield "</ul>"


def _filename(part: EmailMessage) -> str:
    with contextlib.suppress(Exception):  # the parser fails for some headers
        return part.get_filename() or ""
    return "malformed"


def _link(part: EmailMessage) -> str:
    kind, size = part.get_content_type(), len(_bytes(part))
    name = escape(_filename(part) or kind.replace("/", "."))
    # As octet-stream, a browser stores the file and does not open it.
    url = _data_url(part, "application/octet-stream")
    about = escape(f"{kind}, {size} bytes")
    return f'<li><a download="{name}" href="{url}">{name}</a> ({about})</li>'


def _text(part: EmailMessage) -> str:
    with contextlib.suppress(Exception):  # an unknown charset, for example
        return str(part.get_content())
    return _bytes(part).decode("utf-8", "replace")


def _bytes(part: EmailMessage) -> bytes:
    with contextlib.suppress(Exception):  # what the generator cannot write
        if part.is_multipart():  # an attached message
            return b"".join(bytes(child) for child in _children(part))
        data = part.get_payload(decode=True)
        return data if isinstance(data, bytes) else b""
    return b""


def _children(part: EmailMessage) -> list[EmailMessage]:
    return cast("list[EmailMessage]", part.get_payload())


def _data_url(part: EmailMessage, kind: str) -> str:
    safe = kind if re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind, re.ASCII) else "text/plain"
    return f"data:{safe};base64,{base64.b64encode(_bytes(part)).decode()}"
