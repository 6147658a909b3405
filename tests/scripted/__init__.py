"""A submission server that follows a script: every bug can be written as one.

A script says at which moment which action stands in for the correct behaviour; all else
is a correct server. `scripted.script.MOMENTS` lists the moments, `scripted.actions` the
actions. How to write a new bug:

1.  "The server takes RCPT twice, then says 421 and hangs up." On one port::

        with ScriptedServer(starttls={"rcpt:3": reply(421, "4.3.2", "bye") + close()}):

2.  "587 is blocked, and 465 resets the first connection after it has read 200 bytes of
    the message; the second one works." A port can be special, and a list holds one script
    for each connection in turn, the last one for all others::

        with ScriptedServer(starttls="refused", implicit=[{"content:200": rst()}, {}]):

3.  "A server with PIPELINING, with a certificate for another host, on every port; it
    says two things at once to EHLO." What it offers and shows is in a `Script`::

        bug = Script(
            {"ehlo2": normal() + say(b"250 stray\\r\\n")},
            offers=(*OFFERS, "PIPELINING"),
            certificate="wrong_host",
        )
        with ScriptedServer(bug) as server:
            methods = tuple(Method(*pair) for pair in server.methods())
            ...  # send through server.host, methods, server.user, .password, .ca
        server.assert_clean()
        assert [m.content for m in server.accepted] == [...]

`scripted.client.RawClient` is a client that can be wrong on purpose. The other modules:
`script` (moments), `actions`, `server` (ports and threads), `conversation` (the correct
server), `rules` (which MAIL and RCPT it takes), `talk` (how a script interrupts it),
`stream` (lines, contents, marks in bytes), `wire` (one socket and its TLS), `sasl`,
`records` (what was seen), `judge`.
"""

from scripted.actions import (
    GARBAGE,
    Action,
    close,
    cut,
    drip,
    endless_drip,
    endless_line,
    endless_multiline,
    garbage,
    hang,
    inject,
    normal,
    nothing,
    reply,
    rst,
    say,
    split,
    stop_reading,
    then,
)
from scripted.judge import secret_forms
from scripted.records import Connection, Message
from scripted.script import MOMENTS, OFFERS, Script
from scripted.server import ScriptedServer


__all__ = [
    "GARBAGE",
    "MOMENTS",
    "OFFERS",
    "Action",
    "Connection",
    "Message",
    "Script",
    "ScriptedServer",
    "close",
    "cut",
    "drip",
    "endless_drip",
    "endless_line",
    "endless_multiline",
    "garbage",
    "hang",
    "inject",
    "normal",
    "nothing",
    "reply",
    "rst",
    "say",
    "secret_forms",
    "split",
    "stop_reading",
    "then",
]
