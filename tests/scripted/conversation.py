"""One connection to a correct submission server, with a moment at each step."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import tls

from scripted import rules
from scripted.records import Message
from scripted.sasl import Answer, Dialogue
from scripted.talk import Talk
from scripted.wire import Over, Wire


if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from scripted.script import Script


_ALONE = {"EHLO", "HELO", "STARTTLS", "AUTH", "DATA", "QUIT", "NOOP"}
"""Nothing may be pipelined after these before their reply (RFC 2920 section 3.1; for AUTH
RFC 4954 section 4)."""


class Conversation(Talk):
    """The conversation on one connection; `run()` holds it."""

    def __init__(
        self,
        wire: Wire,
        script: Script,
        ending: threading.Event,
        *,
        login: Callable[[], tuple[str, str]],
        implicit: bool,
    ) -> None:
        super().__init__(wire, script, ending)
        self._login = login
        self._implicit = implicit
        self._message: Message | None = None
        self._handlers: dict[str, Callable[[str], None]] = {
            "EHLO": self._ehlo,
            "HELO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "QUIT": self._quit,
            "NOOP": partial(self._simple, "noop", (250, "2.0.0", "ok")),
        }

    def run(self) -> str:
        """Hold the conversation; return who ended it."""
        try:
            self.wire.expect_tls = self._implicit
            self.play("connect", lambda: None)
            if self._implicit:
                self._start_tls()
            self.check()
            self.play("greeting", b"220 scripted.example ESMTP\r\n")
            while True:
                self._command(self._line())
        except Over as over:
            return str(over)

    def _line(self) -> bytes:
        self.check()
        return self.stream.line()

    def _command(self, line: bytes) -> None:
        self.record.commands.append((self.wire.secure, line))
        verb, _, argument = line.decode("utf-8", "surrogateescape").partition(" ")
        verb = verb.upper()
        if verb != "BDAT":
            self._note_early(line, alone=verb in _ALONE)
        other = partial(self._simple, "other", (502, "5.5.1", "Unknown command"))
        self._handlers.get(verb, other)(argument)

    def _note_early(self, line: bytes, *, alone: bool = True) -> None:
        """Record that the client did not wait for a reply for which it must wait."""
        alone = alone or "PIPELINING" not in self._offers()
        if alone and self.stream.buffer and not self.scripted:
            self.record.early.append(line)

    def _offers(self) -> dict[str, str]:
        offers = self.script.offers
        if not self.wire.secure:
            offers = self.script.offers_in_clear
            if offers is None:
                offers = [o for o in self.script.offers if not o.startswith("AUTH")]
                offers += ["STARTTLS"]
        split = (offer.partition(" ") for offer in offers)
        return {keyword.upper(): value for keyword, _, value in split}

    def _answer(self, code: int, enhanced: str, text: str) -> bytes:
        if enhanced and "ENHANCEDSTATUSCODES" in self._offers():
            text = f"{enhanced} {text}"
        return f"{code} {text}\r\n".encode()

    def _simple(self, moment: str, answer: Answer, argument: str) -> None:
        self.play(moment, self._answer(*answer), command=True)

    def _ehlo(self, argument: str) -> None:
        offers = [f"{key} {value}".strip() for key, value in self._offers().items()]
        lines = [f"scripted.example greets {argument}", *offers]
        whole = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
        self._message = None
        moment = "ehlo2" if self.wire.secure and not self._implicit else "ehlo"
        self.play(moment, whole.encode("utf-8", "surrogateescape"), command=True)

    def _starttls(self, argument: str) -> None:
        answer = self._answer(502, "5.5.1", "STARTTLS not offered")
        if "STARTTLS" in self._offers():
            answer = self._answer(220, "2.0.0", "go")
        code = self.play("starttls", answer, command=True)
        self.check()
        if code // 100 == 2 and not self.wire.secure:
            self._message = None
            self.wire.expect_tls = True
            self._start_tls(self.stream.take_all())

    def _start_tls(self, early: bytes = b"") -> None:
        self.check()
        early = early or self.wire.recv()  # no action before the ClientHello
        if not early:
            raise Over("client")
        context = tls.server_context(self.script.certificate)
        self.play("tls", lambda: self.wire.handshake(context, early))
        self.check()
        if not self.wire.secure:
            self.listen()
            raise Over("client")

    def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        dialogue = Dialogue(self._offers().get("AUTH", "").split(), mechanism)
        if not self.wire.secure and self.script.require_tls:
            dialogue.refuse(530, "5.7.0", "Must issue a STARTTLS command first")
        elif self.record.authenticated or self._message:
            dialogue.refuse(503, "5.5.1", "No AUTH now")
        login = [part.encode() for part in self._login()]  # a test may change it
        answer = dialogue.first(initial.encode("utf-8", "surrogateescape"), *login)
        code = self.play("auth", self._answer(*answer), self._authenticated, command=True)
        while code // 100 == 3:
            line = self._line()
            self.record.auth_lines.append(line)
            self._note_early(line)
            answer = dialogue.answer(line)
            code = self.play("auth-step", self._answer(*answer), self._authenticated)
        if self.record.authenticated:
            self.arm_sending()

    def _authenticated(self, code: int) -> None:
        if code // 100 == 2 and not self.record.authenticated:
            self.record.authenticated = True
            waiting = len(self.stream.buffer)
            self.record.auth_mark = len(self.record.received) - waiting
            self.arm("after-auth")

    def _mail(self, argument: str) -> None:
        path, parameters = rules.split(rules.MAIL, argument)

        def commit(code: int) -> None:
            taken = code // 100 == 2
            self._message = Message(path or "", (), parameters) if taken else None

        answer = self._may_mail() or rules.mail(path, parameters, self._offers())
        self.play("mail", self._answer(*answer), commit, command=True)

    def _may_mail(self) -> Answer | None:
        if self.script.require_tls and not self.wire.secure:
            return 530, "5.7.0", "Must issue a STARTTLS command first"
        if self.script.require_auth and not self.record.authenticated:
            return 530, "5.7.0", "Authentication required"
        return (503, "5.5.1", "Nested MAIL") if self._message else None

    def _rcpt(self, argument: str) -> None:
        path, parameters = rules.split(rules.RCPT, argument)
        message = self._message
        before = message.recipients if message else ()

        def commit(code: int) -> None:
            if message:
                message.recipients = (
                    (*before, path or argument) if code // 100 == 2 else before
                )

        answer = (503, "5.5.1", "MAIL first")
        if message:
            offers = self._offers()
            answer = rules.rcpt(path, parameters, message.parameters, offers)
        self.play("rcpt", self._answer(*answer), commit, command=True)

    def _data(self, argument: str) -> None:
        answer = self._answer(354, "", "Go on, end with <CRLF>.<CRLF>")
        if not self._message:
            answer = self._answer(503, "5.5.1", "MAIL first")
        elif not self._message.recipients:
            answer = self._answer(554, "5.5.1", "No valid recipients")
        code = self.play("data", answer, command=True)
        if code // 100 == 3:
            self.check()
            self._take(self.stream.dotted)
            self._final()

    def _bdat(self, argument: str) -> None:
        match = re.fullmatch(r"(\d+)( +LAST)? *", argument, re.IGNORECASE)
        if match is None or "CHUNKING" not in self._offers():
            self._simple("other", (502, "5.5.1", "No such BDAT"), argument)
            return
        size, last = int(match[1]), bool(match[2])
        if not self._message or not self._message.recipients:
            self.stream.exactly(size)
            moment = "final" if last else "bdat"
            self.play(moment, self._answer(503, "5.5.1", "MAIL and RCPT first"))
            return
        self._take(partial(self.stream.exactly, size), last=last)
        if last:
            self._final()
        else:
            answer = self._answer(250, "2.0.0", f"{size} octets received")
            self.play("bdat", answer, self._went_on)

    def _went_on(self, code: int) -> None:
        if code // 100 != 2:
            self._message = None

    def _take(self, read: Callable[[Callable], bytes], *, last: bool = True) -> None:
        """Read content, or one chunk of it, into the message."""
        message = self._message = self._message or Message("", ())
        if message not in self.record.messages:  # by identity
            self.record.messages.append(message)

        def early(code: int) -> None:
            if code // 100 == 2:
                message.state = "unknown"

        def ended() -> None:
            if last:
                message.state = "unknown"

        marks = self.arm("content", early, past=len(message.content))
        try:
            message.content += read(ended)
        except Over:
            message.content += self.stream.take_all()
            raise
        finally:
            self.disarm(marks)

    def _final(self) -> None:
        message, self._message = self._message, None

        def commit(code: int) -> None:
            if self.said:
                states = {2: "accepted", 4: "refused", 5: "refused"}
                message.state = states.get(code // 100, "unknown")

        answer = self._answer(250, "2.0.0", f"Ok: queued as {len(self.record.messages)}")
        if len(message.content) > rules.limit(self._offers()):
            answer = self._answer(552, "5.3.4", "Message too big")
        self._note_early(b"(end of content)", alone=False)
        self.play("final", answer, commit)

    def _rset(self, argument: str) -> None:
        self._message = None
        self._simple("rset", (250, "2.0.0", "ok"), argument)

    def _quit(self, argument: str) -> None:
        self._simple("quit", (221, "2.0.0", "bye"), argument)
        self.check()
        self.wire.finish()
        raise Over("quit")
