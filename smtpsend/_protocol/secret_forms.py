"""The forms in which a server may repeat a secret, and how its escapes are undone.

A form is looked for as it stands, or by any part of it that is long enough: a server may
cut what it repeats, at either end. Escapes (percent, quoted-printable, HTML, JSON) may
stand for any of its characters, so they are undone in the text that is searched.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterator


# Six characters of base64 are four bytes; a shorter form could be part of any word.
SHORTEST = 6
# How long a part gives a form away: half of a secret, within these bounds.
PART, _LONGEST_PART = 8, 24
# Of a long token only every 16th part is looked for: a run of 16 more characters has one.
_LONG, _STRIDE = 256, 16

# What servers say by themselves gives nothing away, and without it there is no EHLO to
# read where a password begins like a keyword.
_USUAL = (
    "pipelining enhancedstatuscodes starttls 8bitmime smtputf8 chunking binarymime "
    "requiretls deliverby futurerelease oauthbearer xoauth2 anonymous scram-sha-256-plus "
    "password username authenticate authentication authenticated authorization "
    "unauthorized credentials incorrect mechanism mechanisms accepted rejected recipient "
    "recipients temporarily temporary unavailable connection connections required "
    "successful transaction mailserver submission postmaster"
)

_LOST = "?\ufffd"  # what stands for a character that a charset does not have


def squeezed(text: str) -> str:
    """`text` without white space, control characters and case."""
    text = "".join(text.split())
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return text.casefold()


def plain_forms(secret: str) -> set[str]:
    """A secret in clear, as other charsets and normal forms make it, squeezed."""
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
    """UTF-8 read as another charset."""
    return text.encode().decode(charset, "ignore")


def coded_forms(secret: str) -> set[str]:
    """A secret in hexadecimal, in base64, and in base64 twice, at any alignment."""
    raw = secret.encode()
    found = {raw.hex()}
    for once in aligned(raw):
        found |= {once, once.replace("+", "-").replace("/", "_")}
        found.update(aligned(once.encode()))
    return {form.casefold() for form in found if len(form) >= SHORTEST}


def aligned(secret: bytes) -> list[str]:
    """The characters that stand for `secret` in base64 after 0, 1 or 2 other bytes."""
    forms = []
    for shift in range(3):
        text = b64encode(b"\0" * shift + secret).decode().rstrip("=")
        # The first and the last characters hold bits of the neighbours, too.
        first = -(-shift * 8 // 6)
        last = (shift + len(secret)) * 8 // 6
        forms.append(text[first:last])
    return [form for form in forms if len(form) >= SHORTEST]


def part_of(secret: str) -> int:
    """How many characters of a secret in clear give it away."""
    return min(max(PART, len(secret) // 2), _LONGEST_PART)


def parts(form: str, size: int = PART) -> list[str]:
    """The parts of a form that give it away, each `size` characters long."""
    step = 1 if len(form) <= _LONG else _STRIDE
    return [form[at : at + size] for at in range(0, len(form) - size + 1, step)]


def telling(part: str) -> bool:
    """Whether a part of a secret in clear could not stand in any reply by itself."""
    return len({*part} - {*_LOST}) > PART // 4 and not usual(part)


def usual(part: str) -> bool:
    """Whether it stands in a word that servers say by themselves."""
    return part in _USUAL


_ESCAPE = re.compile(
    r"%u([0-9a-f]{4})|[%=]([0-9a-f]{2})|\\x([0-9a-f]{2})"
    r"|(?-i:\\U)([0-9a-f]{8})|\\u([0-9a-f]{4})"
    r"|&#([0-9]{1,7});?|&#x([0-9a-f]{1,6});?|&([a-z]{2,8}[0-9]?);|\\([0-7]{3})|\\(\W)",
    re.IGNORECASE,
)
_SOFT_BREAK = re.compile(r"=[ \t]?\n")
# A server may escape what another program had escaped before.
_MOST_TIMES = 3


def unescaped(text: str) -> Iterator[str]:
    """`text` with its escapes undone, once and again, as long as it has any."""
    # The end of a line may be a soft line break, or stand in the middle of an escape.
    for start in {"".join(x.split()) for x in (text, _SOFT_BREAK.sub("", text))}:
        further = start
        for _ in range(_MOST_TIMES):
            further, count = _ESCAPE.subn(_character, further)
            if not count:
                break
            if not further.isascii():
                # Two escapes may stand for the two halves of one character.
                pairs = further.encode("utf-16-le", "surrogatepass")
                further = pairs.decode("utf-16-le", "replace")
            yield further


def _character(escape: re.Match[str]) -> str:
    wide, byte, octet, eight, four, decimal, hexa, name, octal, self_ = escape.groups()
    if self_ is not None:
        return self_
    if name is not None:
        from html.entities import name2codepoint  # of no use to nearly all programs

        return chr(name2codepoint.get(name, name2codepoint.get(name.lower(), 0xFFFD)))
    if decimal is not None:
        code = int(decimal)
    elif octal is not None:
        code = int(octal, 8)
    else:
        code = int(wide or byte or octet or eight or four or hexa, 16)
    return chr(code) if code < 0x110000 else "\ufffd"
