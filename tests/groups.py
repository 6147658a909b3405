"""One message with three recipients in one group: replies, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scripted import Action, Script, ScriptedServer, normal, reply
from sending import SENDER

from smtpsend import Receipt, SendError
from smtpsend.errors import Event, Phase, RecipientsRefused, Rejected


OFFERS = ("8BITMIME", "ENHANCEDSTATUSCODES", "AUTH PLAIN", "PIPELINING")
BDAT = (*OFFERS, "CHUNKING")
MODES = {"one by one": OFFERS[:3], "DATA": OFFERS, "BDAT": BDAT}
TO = [f"b{n}@b.example" for n in (1, 2, 3)]
RCPTS = [f"rcpt:{n}" for n in (1, 2, 3)]
POSITIONS = ["mail:1", *RCPTS, "data:1", "final:1"]
PHASES = dict(zip(POSITIONS, ["mail", *["rcpt"] * 3, "data", "final"], strict=True))
GROUP = [f"RCPT TO:<{to}>".encode() for to in TO]


def script(on: dict[str, Action], *more: str) -> Script:
    """A server with PIPELINING and these faults."""
    return Script(on, offers=(*OFFERS, *more))


def caught(send_it: Callable[..., Receipt], *args: Any, **options: Any) -> Any:
    """The receipt or the error."""
    try:
        return send_it(*args, sender=SENDER, recipients=TO, **options)
    except SendError as error:
        return error


def pipelined_after(seen: list[list[bytes]]) -> Action:
    """Note which lines have come behind a command when it is read; then the normal."""
    note = Action("note", lambda t: seen.append(bytes(t.stream.buffer).splitlines()))
    return note + normal()


def contents(scripted: ScriptedServer) -> list[bytes]:
    """What was accepted, but for the nothing that a lone dot ends."""
    return [m.content for m in scripted.accepted if m.content]


CODES = dict(zip(POSITIONS, [553, 550, 450, 550, 451, 554], strict=True))
REPLIES = {p: reply(code, "", p) for p, code in CODES.items()}


def outcome(refused: set[str], *, require_all: bool) -> tuple[Any, ...]:
    """What follows from refusals: the kind, the phase, the recipients refused."""
    to = [TO[n] for n, p in enumerate(RCPTS) if p in refused]
    if "mail:1" in refused:
        return Rejected, Phase.MAIL, []
    if len(to) == 3 or (to and require_all):
        return RecipientsRefused, Phase.RCPT, to
    for position in ("data:1", "final:1"):
        if position in refused:
            return Rejected, Phase(PHASES[position]), []
    return Receipt, None, to


def check_outcome(found: Any, refused: set[str], *, require_all: bool) -> None:
    """The report is what follows from these refusals, each with its own reply."""
    kind, phase, to = outcome(refused, require_all=require_all)
    assert type(found) is kind
    for address in to:
        assert found.refused[address].code == CODES[RCPTS[TO.index(address)]]
    if kind is Receipt:
        assert found.accepted == tuple(a for a in TO if a not in to)
        assert list(found.refused) == to
        return
    assert (found.phase, found.event) == (phase, Event.REFUSED)
    if kind is RecipientsRefused:
        assert list(found.refused) == to
    else:
        position = next(p for p in POSITIONS if PHASES[p] == phase)
        assert (found.reply.code, found.reply.text) == (CODES[position], position)
    assert found.temporary is (phase == "data" or to == [TO[1]])
