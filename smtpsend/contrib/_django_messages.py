"""The messages of Django, as items for `send_many`."""

from __future__ import annotations

import email
import email.message
from collections.abc import Callable, Iterator, Sequence
from email.message import Message
from typing import Any

from smtpsend._model.message.serialize_fast import serialize_fast
from smtpsend.errors import ConfigError


class Items(Sequence[Any]):
    """The items for `send_many`, each of which is made when it is read.

    A sequence may be read ahead; see `Client.send_many`.
    """

    def __init__(self, messages: list[Any], make: Callable[[Any], Any]) -> None:
        self._messages, self._make = messages, make

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, index: Any) -> Any:
        return self._make(self._messages[index])

    def __iter__(self) -> Iterator[Any]:
        # The method of `Sequence` would end at an IndexError of a message.
        return map(self._make, self._messages)


def built(email_message: Any) -> Message | bytes:
    """Return the message that Django makes, as an object or as bytes.

    Django has an error of its own for line breaks in headers (`BadHeaderError`), which
    projects catch, and none for text that UTF-8 cannot encode. Some versions of the
    standard library raise an IndexError for an address such as ``to@``.
    """
    try:
        return _plain(email_message.message())
    except IndexError:
        raise ConfigError(
            "the message cannot be built: a header, such as an address, is malformed"
        ) from None
    except UnicodeError:
        raise ConfigError(
            "the message holds a lone surrogate, which is no text"
        ) from None


def _plain(message: Message) -> Message | bytes:
    """Return a message that can be encoded again, for a server without 8BITMIME.

    The classes of Django 5.2 cannot do that. If the bytes that they write are not ASCII,
    they are parsed again. Most are ASCII, which any server accepts as it is; they have a
    Date and a Message-ID, which Django sets.
    """
    if isinstance(message, email.message.EmailMessage):
        return message
    content = _octets(message)
    if content.isascii() and "Date" in message and "Message-ID" in message:
        return content
    return email.message_from_bytes(content)


def _octets(message: Message) -> bytes:
    """Return the bytes of a message, in less time where `as_bytes` is that of Django."""
    if getattr(message.as_bytes, "__module__", "") == "django.core.mail.message":
        found = serialize_fast(message, None)
        if found is not None and not found.added:
            return found.content
    return message.as_bytes()
