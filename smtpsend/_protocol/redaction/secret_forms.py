"""Computes the forms in which a server may repeat a secret, and decodes escapes.

A server may cut off what it repeats, at either end, so a form is found by each part of it
that is long enough. A server may also escape any character (percent, quoted-printable,
HTML, JSON), so the escapes of a text are decoded before it is searched.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterator

from smtpsend._patterns import pattern


# Six characters of base64 are four bytes. A shorter form would be found in other words.
SHORTEST = 6
# A part must be half as long as the secret, but within these bounds, to reveal it.
PART, _LONGEST_PART = 8, 24
# Of a form longer than `_LONG`, only every 16th part is searched for. A repeated piece
# that is 16 characters longer than a part contains one of these.
_LONG, _STRIDE = 256, 16

# Words that occur in many replies reveal no secret. Without this list, a password that
# begins like an EHLO keyword would make the EHLO reply unreadable.
_COMMON = (
    "pipelining enhancedstatuscodes starttls 8bitmime smtputf8 chunking binarymime "
    "requiretls deliverby futurerelease oauthbearer xoauth2 anonymous scram-sha-256-plus "
    "password username authenticate authentication authenticated authorization "
    "unauthorized credentials incorrect mechanism mechanisms accepted rejected recipient "
    "recipients temporarily temporary unavailable connection connections required "
    "successful transaction mailserver submission postmaster"
)

_LOST = "?\ufffd"  # replacements of a character that a charset does not have


def squeezed(text: str) -> str:
    """Remove white space and control characters from `text`, and fold its case."""
    text = "".join(text.split())
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return text.casefold()


def plain_forms(secret: str) -> set[str]:
    """Return the squeezed forms of a secret in other charsets and normal forms."""
    found = {secret}
    if " " in secret:
        found |= {secret.replace(" ", "+"), secret.replace(" ", "_")}
    if not secret.isascii():
        found |= {unicodedata.normalize(form, secret) for form in ("NFC", "NFD", "NFKC")}
        once = {_misread(secret, charset) for charset in ("latin-1", "cp1252")}
        found |= once | {_misread(text, "latin-1") for text in once}
        if sum(c.isascii() for c in secret) >= PART // 2:
            found |= {
                "".join(c if c.isascii() else lost for c in secret) for lost in _LOST
            }
    return {squeezed(text) for text in found}


def _misread(text: str, charset: str) -> str:
    """Decode the UTF-8 of `text` as another charset."""
    return text.encode().decode(charset, "ignore")


def coded_forms(secret: str) -> set[str]:
    """Encode a secret in hexadecimal, base64, and base64 twice, at any alignment."""
    raw = secret.encode()
    found = {raw.hex()}
    for once in aligned(raw):
        found |= {once, once.replace("+", "-").replace("/", "_")}
        found.update(aligned(once.encode()))
    return {form.casefold() for form in found if len(form) >= SHORTEST}


def aligned(secret: bytes) -> list[str]:
    """Return the base64 characters of `secret` after 0, 1 or 2 other bytes."""
    forms = []
    for shift in range(3):
        text = b64encode(b"\0" * shift + secret).decode().rstrip("=")
        # The first and the last character are left out if they also hold bits of the
        # bytes before and after `secret`.
        first = -(-shift * 8 // 6)
        last = (shift + len(secret)) * 8 // 6
        forms.append(text[first:last])
    return [form for form in forms if len(form) >= SHORTEST]


def part_of(secret: str) -> int:
    """Return how many characters of a secret in clear reveal it."""
    return min(max(PART, len(secret) // 2), _LONGEST_PART)


def parts(form: str, size: int = PART) -> list[str]:
    """Return the parts of a form that reveal it, each `size` characters long."""
    step = 1 if len(form) <= _LONG else _STRIDE
    return [form[at : at + size] for at in range(0, len(form) - size + 1, step)]


def distinctive(part: str) -> bool:
    """Return whether a reply that does not repeat the secret will not have this part."""
    return len({*part} - {*_LOST}) > PART // 4 and not common(part)


def common(part: str) -> bool:
    """Return whether `part` occurs in a word of many replies."""
    return part in _COMMON


_ESCAPE = pattern(
    r"%u([0-9a-f]{4})|[%=]([0-9a-f]{2})|\\x([0-9a-f]{2})"
    r"|(?-i:\\U)([0-9a-f]{8})|\\u([0-9a-f]{4})"
    r"|&#([0-9]{1,7});?|&#x([0-9a-f]{1,6});?|&([a-z]{2,8}[0-9]?);|\\([0-7]{3})|\\(\W)",
    re.IGNORECASE,
)
_SOFT_BREAK = pattern(r"=[ \t]?\n")
# Another program may have escaped the text before the server escapes it again.
_MOST_TIMES = 3


def unescaped(text: str) -> Iterator[str]:
    """Decode the escapes of `text` repeatedly, and yield the text after each time."""
    # A line end may belong to a soft line break, or may split an escape.
    for start in {"".join(x.split()) for x in (text, _SOFT_BREAK.sub("", text))}:
        further = start
        for _ in range(_MOST_TIMES):
            further, count = _ESCAPE.subn(_character, further)
            if not count:
                break
            if not further.isascii():
                # Two escapes may encode a pair of surrogates, which is one character.
                pairs = further.encode("utf-16-le", "surrogatepass")
                further = pairs.decode("utf-16-le", "replace")
            yield further


def _character(escape: re.Match[str]) -> str:
    wide, byte, octet, eight, four, decimal, hexa, name, octal, self_ = escape.groups()
    if self_ is not None:
        return self_
    if name is not None:
        from html.entities import name2codepoint  # few programs need this import

        return chr(name2codepoint.get(name, name2codepoint.get(name.lower(), 0xFFFD)))
    if decimal is not None:
        code = int(decimal)
    elif octal is not None:
        code = int(octal, 8)
    else:
        code = int(wide or byte or octet or eight or four or hexa, 16)
    return chr(code) if code < 0x110000 else "\ufffd"
