"""Mailboxes and address lists, parsed (RFC 5321 section 4.1.2, RFC 5322, RFC 6531).

A malformed address is an error and never repaired, so that no mail goes to an address
that the caller did not write. The parser makes one pass over the tokens, so its time is
linear in the length of any text.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from smtpsend._model.address.display_name import UNSAFE, display_name
from smtpsend._model.address.domain import address_literal, ascii_domain, shown
from smtpsend._model.address.plain import PlainMailbox, plain_mailboxes
from smtpsend._patterns import pattern
from smtpsend._values import NamedTuple
from smtpsend.errors import ConfigError


__all__ = [
    "Group",
    "Mailbox",
    "ascii_domain",
    "groups",
    "holds_several",
    "mailbox",
    "mailboxes",
]


class Mailbox(NamedTuple):
    """One mailbox, as it stands in SMTP commands and in headers.

    Attributes:
        display: the display name, unquoted, with its comments (see `display_name`).
            Empty if there is none.
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
        """Whether the address needs no SMTPUTF8 (RFC 6531)."""
        return self.local.isascii()


class Group(NamedTuple):
    """One element of an address list (RFC 5322 section 3.4).

    Attributes:
        name: the name of a group; None for a single mailbox outside a group.
        members: the mailboxes.
    """

    name: str | None
    members: list[Mailbox]


# The characters outside atext; with SMTPUTF8, all non-ASCII characters belong to atext.
# The class is negated, since compiling a class with all of Unicode costs milliseconds
# at import.
_NO_ATEXT = r"^\x00-\x20\"(),.:;<>@\[\\\]\x7f"
_NO_WORD = _NO_ATEXT.replace(".", "")
_DOT_STRING = pattern(rf"[{_NO_ATEXT}]++(?:\.[{_NO_ATEXT}]++)*+")
_QUOTED_STRING = pattern(r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*+"')
_TOKEN = pattern(
    rf"""[ \t]*+(?:
        (?P<special>[<>,:;])
        |(?P<word>"(?:[^"\\]++|\\.)*+"|[{_NO_WORD}]++)
         (?P<domain>@(?:\[[^][\\]*+\]|[{_NO_WORD}]*+))?+
        |(?=\()|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = pattern(r"[()]|\\.", re.DOTALL)
_FOLD = pattern(r"\r\n(?=[ \t])")
_COMMA, _COMMA_OR_BLANK = pattern(r"[,;]"), pattern(r"[,;\s]")
_ROUGHLY = pattern(r'(?:[^<>"@]*<[^\s<>"@]+@[^\s<>"@]+>|[^\s<>"@]+@[^\s<>"@]+)')
_JOINERS = "\u200c\u200d"
# The limits of RFC 5321 section 4.5.3.1 are 64 octets before the @ and 254 in all. Reply
# addresses of large services are longer, and a client may try them. This limit keeps the
# address within one line of a header.
_LONGEST_ADDRESS = 900
_LONGEST_KEPT = 320  # a longer text is not cached
_FORM = (
    "write user@host or Name <user@host>; quote names that hold any of ()<>[]:;@, as "
    "email.utils.formataddr does"
)


def mailbox(text: str) -> Mailbox:
    """Parse ``user@host`` or ``Name <user@host>``.

    Raises:
        ConfigError: `text` is not exactly one well-formed mailbox.
    """
    if type(text) is str and len(text) <= _LONGEST_KEPT:
        return _mailbox(text)
    if not isinstance(text, str):
        raise ConfigError(f"an address must be a str, not {shown(text)}", hint=_FORM)
    return _mailbox.__wrapped__(text)


# Cached, since one sender sends many messages.
@lru_cache(maxsize=1024)
def _mailbox(text: str) -> Mailbox:
    plain = plain_mailboxes(text)
    if len(plain) == 1:
        return _of_plain(plain[0])
    if unsafe := UNSAFE.search(text):
        raise _control(text, unsafe[0])
    if "\t" in text:
        raise _control(text, "\t")
    several = holds_several(text)
    found = [] if several else _parse(text)
    if len(found) != 1 or found[0].name is not None:
        hint = "give a list, with one address in each str" if several else _FORM
        raise ConfigError(f"not exactly one address: {shown(text)}", hint=hint)
    return found[0].members[0]


def holds_several(text: str) -> bool:
    """Whether a text is several addresses, with ``,`` or ``;`` or blanks between them."""
    # In "ann@x.example <ann@x.example>" the first address is a name.
    for separator in (_COMMA,) if "<" in text else (_COMMA, _COMMA_OR_BLANK):
        parts = [part.strip() for part in separator.split(text) if part.strip()]
        if len(parts) > 1 and all(map(_ROUGHLY.fullmatch, parts)):
            return True
    try:
        return len(_parse(text)) > 1
    except ConfigError:
        return False


def mailboxes(text: str) -> list[Mailbox]:
    """Parse the value of an address header to its mailboxes, those in groups included.

    Returns:
        The mailboxes; an empty list for an empty value.

    Raises:
        ConfigError: any part of the value is malformed.
    """
    return [box for group in groups(text) for box in group.members]


def groups(text: str) -> list[Group]:
    """Parse the value of an address header to its address list (RFC 5322 section 3.4).

    A folded value (CRLF and white space) is unfolded first. The obsolete syntax of
    section 4.4, such as routes and empty list elements, is refused.

    Returns:
        One `Group` for each element of the list; an empty list for an empty value.

    Raises:
        ConfigError: any part of the value is malformed.
    """
    if type(text) is str and len(text) <= _LONGEST_KEPT:
        return list(_groups(text))
    return list(_groups.__wrapped__(text))


@lru_cache(maxsize=256)
def _groups(text: str) -> tuple[Group, ...]:
    if plain := plain_mailboxes(text):
        return tuple([Group(None, [_of_plain(one)]) for one in plain])
    text = _FOLD.sub("", text)
    if unsafe := UNSAFE.search(text):
        raise _control(text, unsafe[0])
    return tuple(_parse(text))


class _Token(NamedTuple):
    """One token; `kind` is ``< > , : ;``, ``w`` (a word) or ``a`` (an addr-spec)."""

    kind: str
    text: str
    domain: str
    at: int


_BOX = r"(?:w*+<a>|a)"
_ITEM = rf"(?:w++:(?:{_BOX}(?:,{_BOX})*+)?+;|{_BOX})"
# The grammar of RFC 5322 section 3.4, over the kinds of the tokens.
_LIST = pattern(rf"(?:{_ITEM}(?:,{_ITEM})*+)?+")
_STEP = pattern(rf"(?P<box>(?<!w){_BOX})|(?P<name>(?<!w)w++):|(?P<close>;)")


def _parse(text: str) -> list[Group]:
    tokens, comments = _tokens(text)
    kinds = "".join(token.kind for token in tokens)
    valid = _LIST.match(kinds)
    if valid is None or valid.end() != len(kinds):
        raise _malformed(text, tokens[valid.end()].at if valid else 0)

    def name(start: int, end: int) -> str:
        """Make the display name of the words and comments before the token `end`."""
        parts: list[str] = []
        for at in range(start, end + 1):
            parts += comments.get(at, ())
            if at < end and kinds[at] == "w":
                parts.append(tokens[at].text)
        return display_name(parts)

    found: list[Group] = []
    inside: list[Mailbox] | None = None
    for step in _STEP.finditer(kinds):
        start, end = step.span()
        if step["name"]:
            # The comments of a group without members, and those after it, are added to
            # its name. Those of its members belong to the names of the members.
            if kinds[end] == ";":
                comments.setdefault(end - 1, []).extend(comments.pop(end, ()))
            close = kinds.index(";", end)
            comments.setdefault(end - 1, []).extend(comments.pop(close + 1, ()))
            inside = []
            found.append(Group(name(start, end - 1), inside))
        elif step["close"]:
            inside = None
        else:
            spec = tokens[start + kinds[start:end].index("a")]
            box = _of_addr_spec(name(start, end), spec.text, spec.domain)
            if inside is None:
                found.append(Group(None, [box]))
            else:
                inside.append(box)
    return found


def _tokens(text: str) -> tuple[list[_Token], dict[int, list[str]]]:
    """Split a text into words, addr-specs and specials, without white space.

    Returns:
        The tokens; and the comments, each under the index of the token that follows it.
    """
    tokens: list[_Token] = []
    comments: dict[int, list[str]] = {}
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _malformed(text, at)
        at = match.end()
        kind = match.lastgroup
        if kind == "domain":
            spec = _Token("a", match["word"], match["domain"][1:], match.start())
            tokens.append(spec)
        elif kind == "word":
            tokens.append(_Token("w", match["word"], "", match.start()))
        elif kind == "special":
            tokens.append(_Token(match["special"], "", "", match.start()))
        elif at < len(text):
            end = _after_comment(text, at)
            comments.setdefault(len(tokens), []).append(text[at:end])
            at = end
    return tokens, comments


def _after_comment(text: str, start: int) -> int:
    depth = 0
    for match in _COMMENT.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    raise _malformed(text, start)


def _of_plain(box: PlainMailbox) -> Mailbox:
    """Like `_of_addr_spec`, without the checks that `plain_mailboxes` has made."""
    display, local, domain = box
    host = _host(domain)
    if len(local) + 1 + len(host) > _LONGEST_ADDRESS:
        return _of_addr_spec(display, local, domain)  # raises the error
    return Mailbox(display, local, host)


# Cached, since many recipients have the same domain.
_host = lru_cache(maxsize=1024)(ascii_domain)


def _of_addr_spec(display: str, local: str, domain: str) -> Mailbox:
    """Check both sides of an addr-spec, and make a mailbox of them."""
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
    if len(local.encode()) + 1 + len(host) > _LONGEST_ADDRESS:
        raise ConfigError(
            f"the address is too long: {shown(whole)}",
            hint=f"at most {_LONGEST_ADDRESS} octets, so that it fits into a line",
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
