"""Every fault at every step: what comes of it follows from the policy table alone.

The table of DESIGN.md section 3 stands here once more, in the words of a test: `verdict`
says what a fault at a step is, `Verdict.way` what follows on one port or on three.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from leaks import InLoop
from scripted import (
    OFFERS,
    Action,
    Script,
    ScriptedServer,
    close,
    cut,
    endless_drip,
    endless_line,
    endless_multiline,
    garbage,
    hang,
    inject,
    reply,
    rst,
    say,
)
from scripted.judge import is_client_hello
from sending import (
    MESSAGE,
    RECIPIENT,
    SENDER,
    envelope,
    patiently,
    send_in_loop,
    server_for,
    stretched,
)

from smtpsend import Client, Receipt, SendError, send
from smtpsend.errors import (
    AuthError,
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Phase,
    RecipientsRefused,
    Rejected,
    TLSError,
)


pytestmark = pytest.mark.scan

EHLO = b"250-scripted.example\r\n250-8BITMIME\r\n250 "
NORMAL = {
    "greeting": b"220 scripted.example ESMTP\r\n",
    "ehlo": EHLO + b"STARTTLS\r\n",
    "starttls": b"220 2.0.0 go\r\n",
    "ehlo2": EHLO + b"AUTH PLAIN\r\n",
    "auth": b"235 2.7.0 ok\r\n",
    "mail": b"250 2.1.0 ok\r\n",
    "rcpt": b"250 2.1.5 ok\r\n",
    "data": b"354 go on\r\n",
    "content": b"250 2.0.0 ok\r\n",
    "final": b"250 2.0.0 taken\r\n",
    "rset": b"250 2.0.0 ok\r\n",
    "quit": b"221 2.0.0 bye\r\n",
    "kept": b"250 2.1.0 ok\r\n",
}
"""Each step, and the right reply to it. `content`: a reply in the middle of a large one.
`rset` and `kept` (its MAIL) are the first command on a kept connection of a Client."""

MOMENT = {"content": "content:1000", "kept": "mail:2"}
FIRST_REFUSED = b"550 5.1.1 unknown\r\n"  # what makes a Client say RSET next

STRAY = b"250 2.0.0 stray\r\n"
LATER: dict[str, Action] = {
    "4yz": reply(451, "4.3.0", "later"),
    "5yz": reply(554, "5.3.0", "no"),
    "421": reply(421, "4.3.2", "bye"),
    "421 and close": reply(421, "4.3.2", "bye") + close(),
}
NONSENSE: dict[str, Action] = {
    "garbage": garbage(),
    "code 999": say(b"999 what\r\n"),
    "code 099": say(b"099 what\r\n"),
    "code 199": say(b"199 what\r\n"),
    "code 25": say(b"25 what\r\n"),
    "code 2x0": say(b"2x0 what\r\n"),
    "code 2500": say(b"2500 what\r\n"),
    "two minds": say(b"250-one\r\n550 two\r\n"),
    "two other minds": say(b"550-one\r\n250 two\r\n"),
    "long line": say(b"250 " + b"x" * 9000 + b"\r\n"),
    "long refusal": say(b"451 " + b"x" * 9000 + b"\r\n"),
    "endless line": endless_line(),
    "endless reply": endless_multiline(),
}
GONE: dict[str, Action] = {"close": close(), "cut": cut(), "rst": rst()}
SLOW = {"hang", "drip"}
IN_GROUP = {*NONSENSE, *GONE, *SLOW}  # these leave a message in one group unknown

FAULTS = [*LATER, *NONSENSE, *GONE, *sorted(SLOW), "two", "early"]


def scripted_fault(step: str, fault: str) -> Script:
    """The script of a connection on which this fault comes at this step."""
    on: dict[str, Action] = {"rcpt": say(FIRST_REFUSED)} if step == "rset" else {}
    moment = MOMENT.get(step, step)
    if fault == "early":
        before, said = BEFORE[step]
        if step == "ehlo2":
            return Script({before: inject(said, NORMAL[step])})
        on[before] = say(said + NORMAL[step])
        return Script(on)
    if fault == "two":
        on[moment] = say(NORMAL[step] + STRAY)
    elif fault == "drip":
        on[moment] = endless_drip(NORMAL[step][:4], every=0.05)
    else:
        on[moment] = {**LATER, **NONSENSE, **GONE, "hang": hang()}[fault]
    return Script(on)


_ORDER = ["greeting", "ehlo", "starttls", "ehlo2", "auth", "mail", "rcpt", "data"]
BEFORE = {
    **{b: (a, NORMAL[a]) for a, b in itertools.pairwise(_ORDER)},
    "final": ("data", NORMAL["data"]),
    "quit": ("final", NORMAL["final"]),
    "rset": ("rcpt", FIRST_REFUSED),
    "kept": ("final", NORMAL["final"]),
}
"""Where a step's reply comes if it comes before the command: right behind this one."""

AFTER = {**dict(itertools.pairwise(_ORDER)), "rset": "kept", "kept": "rcpt"}
"""Where an extra reply is noticed."""

Then = Literal["go on", "silent", "next", "fresh", "stop"]
"""silent: a new connection, and no word of it. fresh: as next, else a new connection."""
Fate = tuple[type[SendError], Then]
LOST: dict[str, Fate] = {
    **dict.fromkeys(("greeting", "ehlo", "ehlo2"), (ConnectError, "next")),
    "starttls": (TLSError, "next"),
    "auth": (ConnectionLost, "next"),
    **dict.fromkeys(("mail", "rcpt", "data", "content"), (ConnectionLost, "fresh")),
    "final": (DeliveryUnknown, "stop"),
    **dict.fromkeys(("rset", "kept"), (ConnectionLost, "silent")),
}
REFUSED: dict[str, Fate] = {
    **{step: LOST[step] for step in ("greeting", "ehlo", "starttls", "ehlo2", "rset")},
    "auth": (AuthError, "stop"),
    "rcpt": (RecipientsRefused, "stop"),
    **dict.fromkeys(("mail", "data", "content", "final", "kept"), (Rejected, "stop")),
}


@dataclass(frozen=True)
class Verdict:
    """What a fault is, and what follows."""

    then: Then = "go on"
    kind: type[SendError] = SendError
    temporary: bool = False
    timed_out: bool = False
    phase: Phase = Phase.CONFIG
    kept: bool = False

    def way(self, ports: str) -> str:
        """How the message is delivered: same, fresh, next, or none: an error."""
        if self.then in ("go on", "silent"):
            return {"go on": "same", "silent": "fresh"}[self.then]
        if self.then == "stop":
            return "none"
        if ports == "three":
            return "next"
        once = self.kept or ports == "one, once"  # the fault is not there a second time
        return "fresh" if self.then == "fresh" and once else "none"


def verdict(step: str, fault: str, offers: Sequence[str] = ()) -> Verdict:
    """What the policy says of this fault at this step."""
    kept = step in ("rset", "kept")
    if step == "quit" or (step, fault) in (
        ("starttls", "two"),  # what stands after the 220 was never said
        ("ehlo2", "early"),
        ("final", "two"),  # the first one is the answer: the message is taken
    ):
        return Verdict(kept=kept)
    if (step, fault) in (("data", "two"), ("content", "two"), ("final", "early")):
        return Verdict("stop", DeliveryUnknown, phase=Phase.CONTENT)
    if (step, fault) == ("content", "hang"):
        step = "final"  # it reads on to the end, and says nothing
    if fault == "two":
        step = AFTER[step]
    kind, then = LOST[step]
    temporary = kind is not DeliveryUnknown
    if fault in ("4yz", "5yz"):
        kind, then = REFUSED[step]
        temporary = fault == "4yz"
    elif fault in LATER and step == "final":
        kind, temporary = Rejected, True
    if "CHUNKING" in offers and step in ("mail", "rcpt") and fault in IN_GROUP:
        step, then, kind, temporary = "final", "stop", DeliveryUnknown, False
    names = {"ehlo2": "ehlo", "rset": "mail", "kept": "mail"}
    phase = Phase(names.get(step, step))
    return Verdict(then, kind, temporary, fault in SLOW, phase, kept)


# More than sockets hold (some 4 MB on Linux): its end goes out if the server reads on,
# and not otherwise, however slow the client is.
LARGE = MESSAGE + (b"y" * 78 + b"\r\n") * 100_000
FIRST = MESSAGE.replace(b"<1@", b"<0@")
PORTS = ["one, always", "one, once", "three"]
# Nothing comes before a greeting, and a 250 in the middle of the message is no garbage.
MAKES_NO_SENSE = {("greeting", "early"), ("content", "early"), ("content", "long line")}


def _tried(step: str, fault: str, ports: str) -> bool:
    """Whether a cell is tried.

    What is no reply is found where replies are parsed, and then has one meaning. So each
    such fault is tried with one of the three sets of ports at a step, in turn.
    """
    if (step, fault) in MAKES_NO_SENSE or (fault == "drip" and ports != "three"):
        return False
    alike = fault in NONSENSE and fault != "garbage"
    turn = list(NORMAL).index(step) + list(NONSENSE).index(fault) if alike else 0
    return not alike or PORTS[turn % len(PORTS)] == ports


CELLS = [x for x in itertools.product(NORMAL, FAULTS, PORTS) if _tried(*x)]


@patiently
def check(
    step: str, fault: str, ports: str, *, loop: bool = False, offers: Sequence[str] = ()
) -> None:
    """One cell: the outcome is the table's, and the server's records agree with it."""
    expected = verdict(step, fault, offers)
    bad, way = scripted_fault(step, fault), expected.way(ports)
    bad = replace(bad, offers=(*OFFERS, *offers))
    message = LARGE if step == "content" else MESSAGE
    others = {} if ports == "three" else {"implicit": None, "starttls2": None}
    scripts = [bad, {}] if ports == "one, once" or step == "rset" else bad
    deadline = 3 if fault in SLOW and step != "content" else 15
    times: dict[str, float] = {"reply_timeout": 5, "final_timeout": 5}
    if fault in SLOW:
        # Only the one that is to run out is short: a busy machine may be late elsewhere.
        at_end = step == "final" or (step, fault) == ("content", "hang")
        times["final_timeout" if at_end else "reply_timeout"] = 0.4
    found: Receipt | SendError
    with ScriptedServer(starttls=scripts, **others) as scripted:  # type: ignore[arg-type]
        server = server_for(
            scripted, connect_timeout=5, stagger=5, deadline=deadline, **times
        )
        start = time.monotonic()
        try:
            if expected.kept:
                with (InLoop if loop else Client)(server) as client:
                    with contextlib.suppress(RecipientsRefused):
                        client.send(FIRST, **envelope())
                    found = client.send(message, **envelope())
            else:
                found = (send_in_loop if loop else send)(message, server, **envelope())
        except SendError as error:
            found = error
        assert time.monotonic() - start < stretched(deadline) + 5
        # The client has closed every socket of its own accord.
        scripted.wait_for(lambda: all(c.closed for c in scripted.connections))
    taken = [m for m in scripted.accepted if m.message_id != "<0@example.org>"]
    if isinstance(found, SendError):
        assert way == "none", found
        assert type(found) is expected.kind
        assert found.temporary is expected.temporary
        assert found.timed_out is expected.timed_out
        # A reset right after the accept may be seen before the connection is.
        early = (step, fault, found.phase) == ("greeting", "rst", Phase.CONNECT)
        assert early or found.phase is expected.phase
        assert found.message_id == "<1@example.org>"
        assert len(taken) <= (expected.kind is DeliveryUnknown)
        tries = 2 if expected.then == "fresh" else 1
    else:
        assert [(m.sender, m.recipients, m.content) for m in taken] == [
            (SENDER, found.accepted, message)
        ]
        assert found.accepted == (RECIPIENT,)
        assert found.reply.code == 250
        assert found.method == server.policy.methods[way == "next"]
        assert len(found.attempts) == (expected.then in ("next", "fresh"))
        tries = 1 if way == "same" else 2
    second = "implicit" if way == "next" else "starttls"
    # A port that sends no greeting is asked whether it speaks TLS.
    probes = [is_client_hello(bytes(c.plaintext)) for c in scripted.connections]
    connections = zip(scripted.connections, probes, strict=True)
    used = [c.port_kind for c, probe in connections if not probe]
    assert used == ["starttls", second][:tries]
    scripted.assert_clean(auths=tries)


@pytest.mark.parametrize(("step", "fault", "ports"), CELLS)
def test_fault(step: str, fault: str, ports: str) -> None:
    """The message is delivered, once, or a typed error says why not, by the table."""
    check(step, fault, ports)


@pytest.mark.parametrize(("step", "fault", "ports"), CELLS[:: len(PORTS) * 2 + 1])
def test_fault_in_a_loop(step: str, fault: str, ports: str) -> None:
    """The same comes of it for async callers."""
    check(step, fault, ports, loop=True)


GROUPS = {"pipelining": ("PIPELINING",), "chunking": ("PIPELINING", "CHUNKING")}
IN_GROUPS = [("auth", "two"), ("mail", "early")] + [
    (step, fault)
    for step, fault, ports in CELLS
    if ports == "three" and step in ("mail", "rcpt", "data", "content", "final")
    if fault not in ("two", "early", "drip")
    # A large message costs a second, and what is no reply has one meaning in it.
    if step != "content" or fault not in NONSENSE or fault == "garbage"
]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("step", "fault"), IN_GROUPS)
def test_fault_in_a_group(step: str, fault: str, group: str) -> None:
    """In groups of commands the same comes of it, but for what is unknown by then."""
    if (step, group) != ("data", "chunking"):
        check(step, fault, "one, once", offers=GROUPS[group])
