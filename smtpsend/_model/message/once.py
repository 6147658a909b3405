"""Headers that a message may have once (RFC 5322 section 3.6, RFC 2045).

With the policy `compat32`, ``message["To"] = ...`` adds a second line to the first.
Servers refuse such a message, and readers look at one of the lines only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from email.message import Message
from typing import Any

from smtpsend._model.message.folding.field import is_built
from smtpsend._model.message.headers import addresses_and_text
from smtpsend.errors import ConfigError


__all__ = ["ONCE", "SIGNATURES", "join_repeated", "repeated"]

_LISTS = frozenset({"to", "cc", "bcc", "reply-to"})
ONCE = _LISTS | frozenset(
    {
        *("date", "from", "sender", "message-id", "in-reply-to", "references"),
        *("subject", "mime-version", "content-type", "content-transfer-encoding"),
    }
)
# Headers that sign others and the body (RFC 6376, RFC 8617).
SIGNATURES = frozenset(
    {"dkim-signature", "domainkey-signature", "arc-seal", "arc-message-signature"}
)
# A message with one of these was delivered before, and is passed on as it is.
_TRACE = frozenset({"received", "return-path"})


def repeated(names: Iterable[str]) -> list[str]:
    """The names in lower case, out of `ONCE`, that occur more than once in `names`."""
    found = [name for name in names if name in ONCE]
    return [name for name in dict.fromkeys(found) if found.count(name) > 1]


def join_repeated(message: Message) -> None:
    """Make repeated headers of a message one, where that is possible.

    Lines that say the same are made one; address lists are joined. A message that came
    from elsewhere, or that a header signs, stays as it is.

    Args:
        message: the message, which is changed.

    Raises:
        ConfigError: a header that may occur once occurs with different values.
    """
    names = [name.lower() for name, _ in message.raw_items()]
    if not SIGNATURES.isdisjoint(names):
        return
    if not is_built(message) and not _TRACE.isdisjoint(names):
        return
    for lower in repeated(names):
        items = list(message.raw_items())
        values = [value for name, value in items if name.lower() == lower]
        joined = _joined(lower, values)
        for name in dict.fromkeys(name for name, _ in items):
            del message[name]
        for name, value in items:
            if name.lower() != lower:
                message.set_raw(name, value)
            elif joined is not None:
                message.set_raw(name, joined)
                joined = None


def _joined(name: str, values: Sequence[Any]) -> Any:
    first, *others = values
    if all(str(other) == str(first) for other in others):
        return first
    if name not in _LISTS:
        title = name.title().replace("Id", "ID").replace("Mime", "MIME")
        raise ConfigError(
            f"the message has {len(values)} headers {title} that differ",
            hint="it may have one (RFC 5322 section 3.6), and message[name] = value may "
            f"add a header to the one that is there: del message[{title!r}] before",
        )
    texts = []
    for value in values:
        found, text = addresses_and_text(value)
        if found:
            texts.append(str(value) if text is None else text)
    return ", ".join(texts)
