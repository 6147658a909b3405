"""Headers with MIME parameters as lines (RFC 2045 section 5.1, RFC 2231).

An ASCII value is a token or a quoted string, on a line of its own if it is long. Any
other value is encoded by RFC 2231, in sections if it is long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from smtpsend._model.message.folding.encoded_words import LONGEST_LINE, raw_bytes_in
from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError


__all__ = ["fold_parameters"]

_LEAST = 78  # a policy with shorter lines cannot hold a section
# The printable characters that a quoted string may hold as they are, or quoted.
_QUOTABLE = pattern(r"[\t -~]*")


def fold_parameters(
    name: str,
    value: str,
    parameters: Iterable[tuple[str, str]],
    width: int,
    *,
    utf8: bool,
) -> str:
    """Write a header with parameters, folded.

    Args:
        name: the name of the header.
        value: what stands before the parameters, such as ``text/plain``.
        parameters: the names of the parameters and their values, decoded.
        width: the longest line to write, in characters, where that is possible.
        utf8: whether to write text beyond ASCII as UTF-8 (RFC 6532).

    Returns:
        The header with CRLF line ends, the last one included.

    Raises:
        ConfigError: a part of it is too long for one line.
    """
    lines = [f"{name}: {value}"]
    for key, text in parameters:
        lines[-1] += ";"
        quotable = (
            _QUOTABLE.fullmatch(text)
            if text.isascii()
            else utf8 and not (raw_bytes_in(text))
        )
        if quotable and len(one := f"{key}={_quoted(text)}") < LONGEST_LINE - 1:
            pass
        else:
            one = f"{key}*={_charset(text)}''{_percent(text)}"
            if len(one) + 2 > width:
                lines += _sections(key, text, max(width, _LEAST))
                continue
        if len(lines[-1]) + len(one) + 1 < width:
            lines[-1] += f" {one}"
        else:
            lines.append(f" {one}")
    if any(len(line.encode("utf-8", "replace")) > LONGEST_LINE for line in lines):
        raise ConfigError(
            f"the header {name} holds a value that is too long for one line",
            hint=f"a line has at most {LONGEST_LINE} octets (RFC 5322 section 2.1.1)",
        )
    return "\r\n".join(lines) + "\r\n"


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _charset(text: str) -> str:
    if text.isascii():
        return "us-ascii"
    return "unknown-8bit" if raw_bytes_in(text) else "utf-8"


def _percent(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def _sections(key: str, text: str, width: int) -> list[str]:
    """Write a long value in sections (RFC 2231 section 3), one a line."""
    lines: list[str] = []
    sizes = [len(_percent(char)) for char in text]
    at = 0
    while at < len(text):
        start = f" {key}*{len(lines)}*=" + ("" if at else f"{_charset(text)}''")
        room = max(width - len(start) - 1, max(sizes))
        end = at
        while end < len(text) and room >= sizes[end]:
            room -= sizes[end]
            end += 1
        lines.append(f"{start}{_percent(text[at:end])};")
        at = end
    lines[-1] = lines[-1].removesuffix(";")
    return lines
