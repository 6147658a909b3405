"""What the server can do at a moment, in place of the normal thing.

Actions are put together with `+` or `then(...)`: `say(b"250 ok\\r\\n") + rst()`. A
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
    """A name to print in a failing test, and what to do with the conversation."""

    name: str
    run: Callable[[Talk], object] = field(repr=False)

    def __add__(self, other: Action) -> Action:
        return then(self, other)


def then(*actions: Action) -> Action:
    """One after the other."""

    def run(talk: Talk) -> None:
        for action in actions:
            action.run(talk)

    return Action(" + ".join(action.name for action in actions), run)


def normal() -> Action:
    """What a correct server does: for `say(b"250 stray\\r\\n") + normal()`."""
    return Action("normal()", lambda c: c.do_normal())


def nothing() -> Action:
    """The normal thing without its reply: one reply is missing, or was said early."""
    return Action("nothing()", lambda c: c.keep_quiet())


def say(data: bytes) -> Action:
    """These bytes, in one segment; what the last whole reply in them says counts."""
    return Action(f"say({data!r})", lambda c: c.say(data))


def reply(code: int, enhanced: str, *lines: str) -> Action:
    """A reply, of several lines if there are several texts; `enhanced` may be ""."""
    texts = [f"{enhanced} {line}".strip() for line in lines or ("",)]
    marks = ["-"] * (len(texts) - 1) + [" "]
    whole = "".join(
        f"{code}{mark}{text}\r\n" for mark, text in zip(marks, texts, strict=True)
    )
    return Action(f"reply({code}, {enhanced!r})", lambda c: c.say(whole.encode()))


def inject(after: bytes = b"220 2.0.0 go\r\n", extra: bytes = b"250 x\r\n") -> Action:
    """Plaintext behind the 220 to STARTTLS, in the same segment."""
    return Action(f"inject(extra={extra!r})", lambda c: c.say(after + extra))


def split(data: bytes) -> Action:
    """One byte per segment, or per TLS record."""

    def run(talk: Talk) -> None:
        for n in range(len(data)):
            talk.say(data[n : n + 1])

    return Action(f"split({data!r})", run)


def drip(data: bytes, every: float) -> Action:
    """One byte each `every` seconds."""

    def run(talk: Talk) -> None:
        for n in range(len(data)):
            talk.pause(every)
            talk.say(data[n : n + 1])

    return Action(f"drip({data!r}, every={every})", run)


def endless_drip(head: bytes, every: float) -> Action:
    """A byte each `every` seconds, and nothing read, until the client leaves."""

    def run(talk: Talk) -> None:
        for n in itertools.count():
            talk.pause(every)
            talk.say(head[n : n + 1] or b".")

    return Action(f"endless_drip({head!r}, every={every})", run)


def garbage(data: bytes = GARBAGE) -> Action:
    """A line that is no SMTP reply, and no TLS record either."""
    return Action("garbage()", lambda c: c.say(data))


def endless_line(chunk: bytes = b"a" * 4096) -> Action:
    """A reply whose line never ends, until the client leaves."""
    return _endless("endless_line()", b"250 ", chunk)


def endless_multiline(line: bytes = b"250-and one more line\r\n") -> Action:
    """A multi-line reply that never ends, until the client leaves."""
    return _endless("endless_multiline()", b"", line * 64)


def _endless(name: str, head: bytes, chunk: bytes) -> Action:
    def run(talk: Talk) -> None:
        talk.say(head)
        while True:
            talk.pause(0)
            talk.say(chunk)

    return Action(name, run)


def close() -> Action:
    """Leave in good order: close_notify where there is TLS, then FIN."""
    return _last("close()", lambda c: c.wire.finish())


def cut() -> Action:
    """FIN without close_notify: what a truncation attack looks like."""
    return _last("cut()", lambda c: c.wire.finish(notify=False))


def rst() -> Action:
    """A TCP reset."""
    return _last("rst()", lambda c: c.wire.reset())


def hang() -> Action:
    """Read, say nothing, and answer not even close_notify, until the client leaves."""
    return _last("hang()", lambda c: c.listen(), by="client")


def stop_reading() -> Action:
    """Neither read nor say anything until the client leaves: its sending blocks."""
    return _last("stop_reading()", lambda c: c.wire.go_deaf(), by="client")


def _last(name: str, do: Callable[[Talk], object], by: str = "server") -> Action:
    def run(talk: Talk) -> None:
        do(talk)
        raise Over(by)

    return Action(name, run)
