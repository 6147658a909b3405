"""Bytes into replies (RFC 5321 section 4.2): strict in form, bounded in size.

Input is garbage if a line does not begin with a code, if the lines of one reply disagree
on the code, if no SMTP server uses the code, or if a line or a reply has no end. Replies
that were complete before the garbage stay valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from smtpsend._patterns import pattern
from smtpsend._protocol.failures import Garbage
from smtpsend._protocol.redaction.redact import Hider, Redactor
from smtpsend.errors import Reply


# RFC 5321 section 4.5.3.1.5 allows 512 octets; no reply to EHLO needs as many as these.
_LONGEST_LINE = 8192
_LONGEST_REPLY = 65536

# RFC 5321 section 4.2: the first digit is 2 to 5. "250" alone is complete, and a tab
# in place of the blank is seen in the wild.
_LINE = pattern(rb"([2-5][0-9]{2})(?:([ \t-])(.*))?", re.DOTALL)
# RFC 2034 section 4: class, subject and detail, followed by the text.
_ENHANCED = pattern(r"([245])\.(\d{1,3})\.(\d{1,3})(?:[ \t]+|$)")
# Includes the characters that reverse the direction of text in a log or a terminal.
_CONTROL = pattern(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def show(line: bytes, redact: Callable[[str], str]) -> str:
    """The start of a line that is no reply, quoted, without secrets."""
    text = redact(line[:_LONGEST_LINE].decode("utf-8", "backslashreplace"))
    return repr(text[:60]) + ("..." * (len(text) > 60))


def _reply_of(code: int, lines: tuple[bytes, ...], hide: Hider) -> Reply:
    """The reply that has these lines, without secrets and control characters."""
    texts = [line.decode("utf-8", "replace") for line in lines]
    enhanced = None
    # The class of an enhanced status code repeats the first digit of the code. One that
    # does not is not trusted, and stays in the text.
    if (found := _ENHANCED.match(texts[0])) and found[1] == str(code)[0]:
        enhanced = found[0].strip()
        texts = [
            text[found.end() :] if text.startswith(enhanced) else text for text in texts
        ]
    text = "\n".join(
        (t if t.isprintable() else _CONTROL.sub(" ", t)).strip() for t in texts
    )
    return Reply(code, enhanced, hide(text.strip("\n")))


# Octets of a reply that is kept, at most. The usual replies to EHLO are shorter.
_LONGEST_KEPT = 512
# Replies that are kept of one line, and as many by all that was received.
_MOST_KEPT = 50
# Replies are kept for so many sets of secrets, those that were used last.
_SETS_OF_SECRETS = 8


class _Known:
    """Replies by the octets that were received, without the secrets that `hide` hides.

    A server says the same on each connection, for each recipient and message after
    message: a greeting, what it offers, "250 OK".

    Attributes:
        lines: the replies of one line, by the line without its line feed.
        data: the replies that came alone, by all that was received.
    """

    def __init__(self) -> None:
        self.lines: dict[bytes, Reply] = {}
        self.data: dict[bytes, Reply] = {}


@lru_cache(maxsize=_SETS_OF_SECRETS)
def _known(_: Hider) -> _Known:
    """Return the same object for the same secrets, on every connection."""
    return _Known()


def _keep(known: dict[bytes, Reply], octets: bytes, reply: Reply) -> None:
    if len(known) >= _MOST_KEPT:
        known.clear()  # many occur once; those that are repeated come again
    known[octets] = reply


class ReplyReader:
    """Splits a stream of bytes into replies."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        # The unredacted text of the last 334: the mechanism needs it as it was sent, and
        # redaction could change it. It is never shown.
        self.challenge = b""
        self._hide = redact.hide
        self._known = _known(self._hide)
        self.clear()

    def clear(self) -> None:
        """Drop everything that was fed so far."""
        self._buffer = b""
        self._code = 0
        self._lines: list[bytes] = []
        self._size = 0
        self.garbage: Garbage | None = None

    @property
    def idle(self) -> bool:
        """Whether no part of a further reply was fed."""
        return not self._buffer and not self._lines and self.garbage is None

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes; none once `garbage` is set."""
        hide = self._redact.hide
        if hide is not self._hide:
            self._hide, self._known = hide, _known(hide)
        if not self.idle:
            return self._split(data)
        if (known := self._known.data.get(data)) is not None:
            return [known]
        replies = self._split(data)
        alone = len(replies) == 1 and self.idle
        # Of a 334, the challenge is needed, too.
        if alone and len(data) <= _LONGEST_KEPT and replies[0].code != 334:
            _keep(self._known.data, data, replies[0])
        return replies

    def _split(self, data: bytes) -> list[Reply]:
        replies: list[Reply] = []
        if self.garbage is not None:
            return replies
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        of_lines = self._known.lines
        try:
            for line in lines:
                # Most replies repeat an earlier one.
                reply = None if self._lines else of_lines.get(line)
                if reply is None:
                    reply = self._line(line)
                if reply is not None:
                    replies.append(reply)
            if len(self._buffer) > _LONGEST_LINE:
                raise Garbage("a reply line without end")
        except Garbage as garbage:
            self.garbage = garbage
            self._buffer = b""
        return replies

    def _line(self, whole: bytes) -> Reply | None:
        line = whole.removesuffix(b"\r")
        if len(line) > _LONGEST_LINE:
            raise Garbage("a reply line without end")
        match = _LINE.fullmatch(line)
        if match is None:
            raise Garbage(f"not an SMTP reply: {show(line, self._redact)}")
        code = int(match[1])
        if self._lines and code != self._code:
            raise Garbage(f"the lines of one reply disagree: {self._code} and {code}")
        self._code = code
        self._lines.append(match[3] or b"")
        self._size += len(line)
        if self._size > _LONGEST_REPLY:
            raise Garbage("a reply without end")
        if match[2] == b"-":
            return None
        self._size = 0
        lines, self._lines = tuple(self._lines), []
        if code == 334:
            self.challenge = lines[-1].strip()
        reply = _reply_of(code, lines, self._redact.hide)
        if len(lines) == 1 and len(line) < 100 and code != 334:
            _keep(self._known.lines, whole, reply)
        return reply
