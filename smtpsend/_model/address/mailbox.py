"""One string, one mailbox, or an error (RFC 5321 section 4.1.2, RFC 5322, RFC 6531).

Nothing is ever repaired: mail must not go to half of what was written. The parser is
one pass over tokens, so its time is linear in the text, whatever the text holds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from smtpsend._model.address.domain import address_literal, ascii_domain, shown
from smtpsend.errors import ConfigError


__all__ = [
    "Group",
    "Mailbox",
    "ascii_domain",
    "groups",
    "mailbox",
    "mailboxes",
    "plain_boxes",
]


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox, as SMTP and the headers know it.

    Attributes:
        display: the name shown to people, unquoted; encoded words (RFC 2047) are kept
            as they are. Empty where there is none.
        local: the part before the @, a quoted string with its quotes.
        domain: the domain in its ASCII form, or an address literal with its brackets.
    """

    display: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        """The address for the envelope: ``local@domain``."""
        return f"{self.local}@{self.domain}"

    @property
    def ascii(self) -> bool:
        """False if only a server with SMTPUTF8 (RFC 6531) can take the address."""
        return self.local.isascii()


class Group(NamedTuple):
    """A part of an address list: the members of a group, or one mailbox without name."""

    name: str | None
    members: list[Mailbox]


# What atext (and, with UTF8, anything beyond ASCII) is not: negated, since compiling a
# class that names all of Unicode takes milliseconds of the import.
_NO_ATEXT = r"^\x00-\x20\"(),.:;<>@\[\\\]\x7f"
_NO_WORD = _NO_ATEXT.replace(".", "")
_DOT_STRING = re.compile(rf"[{_NO_ATEXT}]++(?:\.[{_NO_ATEXT}]++)*+")
_QUOTED_STRING = re.compile(r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*+"')
_TOKEN = re.compile(
    rf"""[ \t]*+(?:
        (?P<special>[<>,:;])
        |(?P<word>"(?:[^"\\]++|\\.)*+"|[{_NO_WORD}]++)
         (?P<domain>@(?:\[[^][\\]*+\]|[{_NO_WORD}]*+))?+
        |(?=\()|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"[()]|\\.", re.DOTALL)
_FOLD = re.compile(r"\r\n(?=[ \t])")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_JOINERS = "\u200c\u200d"
_LONGEST_LOCAL = 64
_LONGEST_ADDRESS = 254
_LONGEST_KEPT = 320  # what is longer is not kept in a cache
_FORM = "write user@host or Name <user@host>; quote names that hold any of ()<>[]:;@,"


def mailbox(text: str) -> Mailbox:
    """Exactly one mailbox from ``user@host`` or ``Name <user@host>``.

    Raises:
        ConfigError: it is not exactly one well-formed mailbox.
    """
    if type(text) is str and len(text) <= _LONGEST_KEPT:
        return _mailbox(text)
    if not isinstance(text, str):
        raise ConfigError(f"an address must be a str, not {shown(text)}", hint=_FORM)
    return _mailbox.__wrapped__(text)


# One sender writes many mails.
@lru_cache(maxsize=1024)
def _mailbox(text: str) -> Mailbox:
    easy = plain_boxes(text)
    if len(easy) == 1:
        return _plain_box(easy[0])
    if unsafe := _UNSAFE.search(text):
        raise _control(text, unsafe[0])
    if "\t" in text:
        raise _control(text, "\t")
    found = _parse(text)
    if len(found) != 1 or found[0].name is not None:
        raise ConfigError(f"not exactly one address: {shown(text)}", hint=_FORM)
    return found[0].members[0]


def mailboxes(text: str) -> list[Mailbox]:
    """All mailboxes of a header's value, those in groups too; none if it is empty.

    Raises:
        ConfigError: any part of it is malformed.
    """
    return [box for group in groups(text) for box in group.members]


def groups(text: str) -> list[Group]:
    """The address list of a header's value (RFC 5322 section 3.4), groups kept apart.

    Folds (CRLF and white space) are undone. Not allowed is what section 4.4 calls
    obsolete, such as routes and empty places in a list.

    Raises:
        ConfigError: any part of it is malformed.
    """
    if type(text) is str and len(text) <= _LONGEST_KEPT:
        return list(_groups(text))
    return list(_groups.__wrapped__(text))


@lru_cache(maxsize=256)
def _groups(text: str) -> tuple[Group, ...]:
    if easy := plain_boxes(text):
        return tuple([Group(None, [_plain_box(one)]) for one in easy])
    text = _FOLD.sub("", text)
    if unsafe := _UNSAFE.search(text):
        raise _control(text, unsafe[0])
    return tuple(_parse(text))


class _Token(NamedTuple):
    """`kind` is one of ``< > , : ;``, ``w`` for a word, ``a`` for an addr-spec."""

    kind: str
    text: str
    domain: str
    at: int


_BOX = r"(?:w*+<a>|a)"
_ITEM = rf"(?:w++:(?:{_BOX}(?:,{_BOX})*+)?+;|{_BOX})"
# The grammar of section 3.4, over the kinds of the tokens.
_LIST = re.compile(rf"(?:{_ITEM}(?:,{_ITEM})*+)?+")
_STEP = re.compile(rf"(?P<box>{_BOX})|(?P<name>w++):|(?P<close>;)")


def _parse(text: str) -> list[Group]:
    tokens = list(_tokens(text))
    kinds = "".join(token.kind for token in tokens)
    good = _LIST.match(kinds)
    if good is None or good.end() != len(kinds):
        raise _malformed(text, tokens[good.end()].at if good else 0)
    found: list[Group] = []
    inside = False
    for step in _STEP.finditer(kinds):
        part = tokens[step.start() : step.end()]
        if step["name"]:
            inside = True
            found.append(Group(_phrase(part), []))
        elif step["close"]:
            inside = False
        elif inside:
            found[-1].members.append(_box(part))
        else:
            found.append(Group(None, [_box(part)]))
    return found


def _tokens(text: str) -> Iterator[_Token]:
    """Words, addr-specs and specials; white space and comments are left out."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _malformed(text, at)
        at = match.end()
        kind = match.lastgroup
        if kind == "domain":
            yield _Token("a", match["word"], match["domain"][1:], match.start())
        elif kind == "word":
            yield _Token("w", match["word"], "", match.start())
        elif kind == "special":
            yield _Token(match["special"], "", "", match.start())
        elif at < len(text):
            at = _after_comment(text, at)


def _after_comment(text: str, start: int) -> int:
    depth = 0
    for match in _COMMENT.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    raise _malformed(text, start)


def _phrase(tokens: list[_Token]) -> str:
    words = (token.text for token in tokens if token.kind == "w")
    return " ".join(
        re.sub(r"\\(.)", r"\1", word[1:-1]) if word[0] == '"' else word for word in words
    ).strip()


def _box(tokens: list[_Token]) -> Mailbox:
    spec = next(token for token in tokens if token.kind == "a")
    return _addr_spec(_phrase(tokens), spec.text, spec.domain)


def _plain_box(box: Plain) -> Mailbox:
    """The same as `_addr_spec`, with the checks that are left."""
    display, local, domain = box
    host = _host(domain)
    if len(local) > _LONGEST_LOCAL or len(local) + 1 + len(host) > _LONGEST_ADDRESS:
        return _addr_spec(display, local, domain)  # which says what is wrong
    return Mailbox(display, local, host)


# Many recipients have the same provider.
_host = lru_cache(maxsize=1024)(ascii_domain)


def _addr_spec(display: str, local: str, domain: str) -> Mailbox:
    """A mailbox from the two sides of an addr-spec, both checked."""
    whole = f"{local}@{domain}"
    if not (_DOT_STRING.fullmatch(local) or _QUOTED_STRING.fullmatch(local)):
        raise ConfigError(
            f"not a valid local part: {shown(local)} in {shown(whole)}", hint=_FORM
        )
    if not local.isascii() and not all(map(_visible, local)):
        raise ConfigError(
            f"the local part holds an invisible character or a space: {shown(whole)}"
        )
    start = local.find("=?")
    if start >= 0 and "?=" in local[start + 2 :]:
        raise ConfigError(
            f"an encoded word (RFC 2047) is not allowed in an address: {shown(whole)}",
            hint="write the address itself; only names may be encoded",
        )
    host = address_literal(domain) if domain[:1] == "[" else ascii_domain(domain)
    size = len(local.encode())
    if size > _LONGEST_LOCAL or size + 1 + len(host) > _LONGEST_ADDRESS:
        raise ConfigError(
            f"the address is too long: {shown(whole)}",
            hint=f"at most {_LONGEST_LOCAL} octets before the @ and "
            f"{_LONGEST_ADDRESS} in all (RFC 5321 section 4.5.3.1)",
        )
    return Mailbox(display, local, host)


def _visible(char: str) -> bool:
    category = unicodedata.category(char)
    if category == "Zs":
        return char == " "  # in a quoted string only: no dot-string holds it
    return char in _JOINERS or category not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _control(text: str, char: str) -> ConfigError:
    return ConfigError(
        f"the address holds the control character {char!r}: {shown(text)}",
        hint="an address is one line of printable characters",
    )


def _malformed(text: str, at: int) -> ConfigError:
    start = max(0, at - 20)
    near = f" near {shown(text[start : at + 30])}" if len(text) > _LONG else ""
    return ConfigError(f"malformed address: {shown(text)}{near}", hint=_FORM)


_LONG = 60


# The common forms of an address, which one match recognises.
# No "=" and "?": what has none holds no encoded word (RFC 2047).
_ATEXT = r"A-Za-z0-9!#$%&'*+/^_`{|}~-"
_PLAIN_WORD = rf"[.{_ATEXT}]++"
_PLAIN_BOX = re.compile(
    rf"""(?:({_PLAIN_WORD}(?:\ {_PLAIN_WORD})*+)\ (?=<) | "([ !#-\[\]-~]*+)"\ (?=<))?+
        (<)?+
        ([{_ATEXT}]++(?:\.[{_ATEXT}]++)*+)@([A-Za-z0-9.-]++)
        (?(3)>)
        (?:,\ (?!\Z)|\Z)""",
    re.VERBOSE,
)


class Plain(NamedTuple):
    """One mailbox; its local part is a dot-atom of ASCII, its domain not yet checked."""

    display: str
    local: str
    domain: str


def plain_boxes(text: str) -> list[Plain]:
    """The mailboxes of a list, if each has one of the common forms; else none.

    These are ``user@host``, ``<user@host>``, ``Some Name <user@host>`` and
    ``"Name, Some" <user@host>``, with ", " between them.
    """
    found: list[Plain] = []
    at = 0
    while at < len(text):
        match = _PLAIN_BOX.match(text, at)
        if match is None:
            return []
        words, quoted, _, local, domain = match.groups()
        found.append(Plain(words or (quoted or "").strip(), local, domain))
        at = match.end()
    return found
