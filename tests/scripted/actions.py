"""The actions that a server can do at a moment, in place of the correct behaviour.

Actions are combined with `+` or `then(...)`: `say(b"250 ok\\r\\n") + rst()`. The
conversation goes on after an action, unless the action ends it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripted.wire import Over


if TYPE_CHECKING:
    from collections.abc import Callable

    from scripted.talk import Talk

GARBAGE = b"\x00\xff\xfe\x15 banana\r\n"


@dataclass(frozen=True)
class Action:
    """A name to print in a failing test, and a function that acts on the conversation."""

    name: str
    run: Callable[[Talk], object] = field(repr=False)

    def __add__(self, other: Action) -> Action:
        return then(self, other)


def then(*actions: Action) -> Action:
    """Do the actions one after the other."""

    def run(talk: Talk) -> None:
        for action in actions:
            action.run(talk)

    return Action(" + ".join(action.name for action in actions), run)


def normal() -> Action:
    """Do the correct behaviour, as in `say(b"250 stray\\r\\n") + normal()`."""
    return Action("normal()", lambda c: c.do_normal())


def nothing() -> Action:
    """Do the correct behaviour without its reply, which is missing or was sent early."""
    return Action("nothing()", lambda c: c.keep_quiet())


def say(data: bytes) -> Action:
    """Send these bytes in one segment; the last whole reply in them counts."""
    return Action(f"say({data!r})", lambda c: c.say(data))


def reply(code: int, enhanced: str, *lines: str) -> Action:
    """Send a reply, with one line for each text; `enhanced` may be ""."""
    texts = [f"{enhanced} {line}".strip() for line in lines or ("",)]
    marks = ["-"] * (len(texts) - 1) + [" "]
    whole = "".join(
        f"{code}{mark}{text}\r\n" for mark, text in zip(marks, texts, strict=True)
    )
    return Action(f"reply({code}, {enhanced!r})", lambda c: c.say(whole.encode()))


def inject(after: bytes = b"220 2.0.0 go\r\n", extra: bytes = b"250 x\r\n") -> Action:
    """Send plaintext after the 220 to STARTTLS, in the same segment."""
    return Action(f"inject(extra={extra!r})", lambda c: c.say(after + extra))


def split(data: bytes) -> Action:
    """Send one byte per segment, or per TLS record."""

    def run(talk: Talk) -> None:
        for n in range(len(data)):
            talk.say(data[n : n + 1])

    return Action(f"split({data!r})", run)


def drip(data: bytes, every: float) -> Action:
    """Send one byte each `every` seconds."""

    def run(talk: Talk) -> None:
        for n in range(len(data)):
            talk.pause(every)
            talk.say(data[n : n + 1])

    return Action(f"drip({data!r}, every={every})", run)


def endless_drip(head: bytes, every: float) -> Action:
    """Send a byte each `every` seconds, and read nothing, until the client leaves."""

    def run(talk: Talk) -> None:
        for n in itertools.count():
            talk.pause(every)
            talk.say(head[n : n + 1] or b".")

    return Action(f"endless_drip({head!r}, every={every})", run)


def garbage(data: bytes = GARBAGE) -> Action:
    """Send a line that is no SMTP reply, and no TLS record either."""
    return Action("garbage()", lambda c: c.say(data))


def endless_line(chunk: bytes = b"a" * 4096) -> Action:
    """Send a reply whose line never ends, until the client leaves."""
    return _endless("endless_line()", b"250 ", chunk)


def endless_multiline(line: bytes = b"250-and one more line\r\n") -> Action:
    """Send a multi-line reply that never ends, until the client leaves."""
    return _endless("endless_multiline()", b"", line * 64)


def _endless(name: str, head: bytes, chunk: bytes) -> Action:
    def run(talk: Talk) -> None:
        talk.say(head)
        while True:
            talk.pause(0)
            talk.say(chunk)

    return Action(name, run)


def close() -> Action:
    """Close in good order: close_notify if there is TLS, then FIN."""
    return _last("close()", lambda c: c.wire.finish())


def cut() -> Action:
    """Send FIN without close_notify, which looks like a truncation attack."""
    return _last("cut()", lambda c: c.wire.finish(notify=False))


def rst() -> Action:
    """Send a TCP reset."""
    return _last("rst()", lambda c: c.wire.reset())


def hang() -> Action:
    """Read, but send nothing, not even close_notify, until the client leaves."""
    return _last("hang()", lambda c: c.listen(), by="client")


def stop_reading() -> Action:
    """Neither read nor send until the client leaves, so that its writes block."""
    return _last("stop_reading()", lambda c: c.wire.go_deaf(), by="client")


def _last(name: str, do: Callable[[Talk], object], by: str = "server") -> Action:
    def run(talk: Talk) -> None:
        do(talk)
        raise Over(by)

    return Action(name, run)
