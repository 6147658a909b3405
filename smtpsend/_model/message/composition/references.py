"""In-Reply-To and References of an answer (RFC 5322 section 3.6.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.message import Message

from smtpsend._model.address.domain import shown
from smtpsend._model.message.content import unfolded
from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError


__all__ = ["reply_headers"]

_ID = pattern(r"<[!-;=?-~]{1,990}>")
# An id without its brackets, as some programs store it.
_BARE = pattern(r"[!-;=?A-~]++@[!-;=?-~]++")
# RFC 5537 section 3.4.4 allows to leave out ids of a long list. Without a limit, the
# header of the answer to a hostile message could be larger than servers accept.
_MOST = 100


def reply_headers(in_reply_to: object, references: object) -> list[tuple[str, str]]:
    """Make In-Reply-To and References.

    Args:
        in_reply_to: the message that is answered, or its id, or several ids; None if the
            message is no answer.
        references: the ids of the thread so far, oldest first, or a message of it; by
            default those that the answered message names.

    Raises:
        ConfigError: a value is no message id, or a message has none.
    """
    given = not _is_empty(references)
    thread = _thread(references, "references") if given else []
    if in_reply_to is None:
        return _headers([], thread)
    if isinstance(in_reply_to, Message):
        *before, own = _thread(in_reply_to, "in_reply_to")
        return _headers([own], thread if given else before, own)
    parents = _ids(in_reply_to, "in_reply_to")
    if len(parents) > 1 and not given:
        # How References is made for several parents is not defined.
        return _headers(parents, [])
    return _headers(parents, thread, *parents)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, (tuple, list)) and not value)


def _headers(parents: list[str], thread: list[str], *last: str) -> list[tuple[str, str]]:
    before = [one for one in dict.fromkeys(thread) if one not in last]
    ids = [*before, *dict.fromkeys(last)]
    if len(ids) > _MOST:
        ids = [ids[0], *ids[1 - _MOST :]]
    found = [
        ("In-Reply-To", " ".join(dict.fromkeys(parents))),
        ("References", " ".join(ids)),
    ]
    return [(name, value) for name, value in found if value]


def _thread(value: object, argument: str) -> list[str]:
    """The ids of the messages up to `value`, which is a message or gives the ids."""
    if not isinstance(value, Message):
        return _ids(value, argument)
    own = _named(value, "message-id")
    if not own:
        raise ConfigError(
            f"the message given as {argument} has no Message-ID",
            hint="give the id that it was sent with, such as receipt.message_id",
        )
    before = _named(value, "references")
    if not before and len(parents := _named(value, "in-reply-to")) == 1:
        before = parents
    return [*before, own[0]]


def _named(message: Message, wanted: str) -> list[str]:
    """The ids in a header of any message, however malformed the header is."""
    # The raw text is read, since the parser of some Python versions fails for it.
    texts = [
        unfolded(str(value).encode("utf-8", "surrogatepass"))
        for name, value in message.raw_items()
        if name.lower() == wanted
    ]
    ids = [one for text in texts for one in _ID.findall(text)]
    if (
        not ids
        and len(texts) == 1
        and wanted == "message-id"
        and _BARE.fullmatch(texts[0])
    ):
        return [f"<{texts[0]}>"]
    return ids


def _ids(value: object, argument: str) -> list[str]:
    if (
        isinstance(value, bytes)
        or not isinstance(value, Iterable)
        or isinstance(value, Mapping)
    ):
        raise ConfigError(
            f"{argument} must be a message object or message ids, not {shown(value)}",
            hint="parse bytes by email.message_from_bytes(data, policy=policy.default)",
        )
    texts = [value] if isinstance(value, str) else list(value)
    found = []
    for text in texts:
        words = text.split() if isinstance(text, str) else []
        if not words:
            raise _no_id(text, argument)
        for word in words:
            if _ID.fullmatch(word):
                found.append(word)
            elif _BARE.fullmatch(word):
                found.append(f"<{word}>")
            else:
                raise _no_id(word, argument)
    return found


def _no_id(value: object, argument: str) -> ConfigError:
    return ConfigError(
        f"not a message id in {argument}: {shown(value)}",
        hint="give what the header Message-ID holds, such as <17@example.org>",
    )
