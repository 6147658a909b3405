"""A submission server that follows a script: any fault of a server can be scripted.

A script maps moments to actions. At each of these moments the server does the action in
place of the correct behaviour; otherwise it is a correct server. The moments are listed
in `scripted.script.MOMENTS`, the actions in `scripted.actions`. How to write a new fault:

1.  "The server accepts two RCPT commands, then sends 421 and closes." On one port::

        with ScriptedServer(starttls={"rcpt:3": reply(421, "4.3.2", "bye") + close()}):

2.  "587 is blocked, and 465 resets the first connection after it has read 200 bytes of
    the message; the second one works." A port can be one of `Special`. A list holds one
    script for each connection in turn; the last one is for all others::

        with ScriptedServer(starttls="refused", implicit=[{"content:200": rst()}, {}]):

3.  "A server with PIPELINING, with a certificate for another host, on every port; it
    sends two replies to EHLO." Extensions and certificate are set in a `Script`::

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

`scripted.client.RawClient` is a client that can break the protocol on purpose. The other
modules: `script` (moments), `actions`, `server` (ports and threads), `conversation` (the
correct server), `rules` (which MAIL and RCPT it accepts), `talk` (how a script interrupts
the conversation), `stream` (lines, contents, marks in bytes), `wire` (one socket and its
TLS), `sasl`, `records` (what the server received and sent), `judge`.
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
