"""A simulated SMTP server that keeps a record of what it accepted, and has faults.

A fault stands at a command: at its verb, and how many times the verb came by then.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from smtpsend.errors import Reply


OK = Reply(250, None, "ok")
EHLO = Reply(250, None, "sink\nPIPELINING\nCHUNKING")

LOST, GARBAGE, SILENT = "lost", "garbage", "silent"

FAULTS = (
    "drop before",  # the connection ends before the command is executed
    "drop unsaid",  # it is executed, and then the connection ends without the reply
    "drop after",  # it is executed, and the connection ends after the reply
    "hang before",
    "hang unsaid",
    "4yz",  # it is refused
    "5yz",
    "421",  # it is refused, and the connection ends
    "421 stays",  # it is refused by a 421, and the server goes on
    "421 unasked",  # it is executed; after its reply come a 421 and the end
    "garbage before",
    "garbage unsaid",
    "stray ok before",  # an extra reply
    "stray ok after",
    "stray no before",
    "stray no after",
    "354",  # an extra 354 in front of the reply
    "221",  # it is executed, but a 221 is the reply
)


@dataclass(slots=True)
class Rules:
    """How the server behaves, apart from its faults.

    Attributes:
        refuse: which commands are refused: the verb, and how many times it came by then.
        limit: the most recipients of a transaction; None for no limit.
        too_many: the reply to further ones.
        after_content: what happens to commands that were written with the content of a
            message: ``replies``, or the server ``loses`` or ``refuses`` them, or
            ``closes`` the connection.
        bdat: ``known``; or the reply is a 502, and the chunk is ``swallowed`` or read as
            ``commands``.
        rset: whether RSET is known.
        ehlo: whether EHLO is accepted at the end of a window.
    """

    refuse: frozenset[tuple[str, int]] = frozenset()
    limit: int | None = None
    too_many: Reply = Reply(452, "4.5.3", "too many recipients")
    after_content: str = "replies"
    bdat: str = "known"
    rset: bool = True
    ehlo: bool = True


@dataclass(slots=True)
class World:
    """The server.

    Attributes:
        faults: each fault by the verb it stands at, and how many times that came by then.
        accepted: how often each message was accepted for each recipient.
        out: the replies that the client has not read; LOST, GARBAGE or SILENT at the end.
        hits: the verb that each fault came at.
    """

    rules: Rules = field(default_factory=Rules)
    faults: Mapping[tuple[str, int], str] = field(default_factory=dict)
    accepted: Counter[tuple[str, str]] = field(default_factory=Counter)
    out: deque[Reply | str] = field(default_factory=deque)
    hits: list[str] = field(default_factory=list)
    ended: bool = False
    _steps: Counter[str] = field(default_factory=Counter)
    _mail: str | None = None
    _recipients: list[str] = field(default_factory=list)

    def group(self, commands: Iterable[tuple[str, str]]) -> None:
        """Execute commands that arrive in one write: each a verb and its argument."""
        after = ""
        for verb, argument in commands:
            if self.ended:
                return
            if after == "loses":
                return
            if after == "closes":
                self._end(LOST)
                return
            refused = after == "refuses" and verb in ("mail", "rcpt", "data")
            self._execute(verb, argument, refused=refused)
            if verb == "content":
                after = self.rules.after_content

    def _end(self, how: str) -> None:
        self.ended = True
        self.out.append(how)

    def _execute(self, verb: str, argument: str, *, refused: bool) -> None:
        self._steps[verb] += 1
        refused |= (verb, self._steps[verb]) in self.rules.refuse
        reply, commit = self._reply(verb, argument, refused=refused)
        fault = self.faults.get((verb, self._steps[verb]))
        if fault is None:
            if commit:
                self._commit(verb, argument)
            elif verb == "content":
                # Accepted or refused, the transaction is over.
                self._mail, self._recipients = None, []
            self.out.append(reply)
        else:
            self.hits.append(verb)
            self._faulty(fault, verb, argument, reply, commit=commit)
        if verb == "bdat" and self.rules.bdat == "commands":
            self.out.append(Reply(500, "5.5.2", "what?"))  # the chunk

    def _reply(self, verb: str, argument: str, *, refused: bool) -> tuple[Reply, bool]:
        """The reply, and whether the command is executed."""
        rules = self.rules
        if verb == "rset":
            return (OK, True) if rules.rset else (Reply(502, None, "no RSET"), False)
        if verb == "ehlo":
            return (EHLO, True) if rules.ehlo else (Reply(503, None, "again?"), False)
        if verb == "quit":
            return Reply(221, None, "bye"), True
        if verb == "mail":
            if self._mail is not None:
                return Reply(503, None, "nested MAIL"), False
            return (Reply(550, None, "no"), False) if refused else (OK, True)
        if verb == "rcpt":
            if self._mail is None:
                return Reply(503, None, "MAIL first"), False
            if rules.limit is not None and len(self._recipients) >= rules.limit:
                return rules.too_many, False
            return (Reply(550, "5.1.1", "who?"), False) if refused else (OK, True)
        if verb == "data":
            if not self._recipients or refused:
                return Reply(503, None, "RCPT first"), False
            return Reply(354, None, "go on"), True
        if verb == "bdat" and rules.bdat != "known":
            return Reply(502, None, "no BDAT"), False
        if verb == "bdat" and not self._recipients:
            return Reply(503, None, "RCPT first"), False
        return (Reply(552, None, "full"), False) if refused else (OK, True)

    def _commit(self, verb: str, argument: str) -> None:
        if verb in ("rset", "ehlo"):
            self._mail, self._recipients = None, []
        elif verb == "mail":
            self._mail, self._recipients = argument, []
        elif verb == "rcpt":
            self._recipients.append(argument)
        elif verb in ("content", "bdat"):
            # An empty content has no message: it ends the transaction, and no more.
            if argument and self._mail is not None:
                for address in self._recipients:
                    self.accepted[self._mail, address] += 1
            self._mail, self._recipients = None, []

    def _faulty(
        self, fault: str, verb: str, argument: str, reply: Reply, *, commit: bool
    ) -> None:
        if fault in ("4yz", "5yz", "421", "421 stays"):
            code = {"4yz": 451, "5yz": 554}.get(fault, 421)
            reply, commit = Reply(code, None, fault), False
        if fault in ("stray ok before", "stray no before"):
            self.out.append(OK if "ok" in fault else Reply(550, None, "stray"))
        if fault == "354":
            self.out.append(Reply(354, None, "go on"))
        if fault == "221":
            reply = Reply(221, None, "bye")
        if fault.endswith("before") and not fault.startswith("stray"):
            commit = False
        if commit:
            self._commit(verb, argument)
        elif verb == "content":
            # Accepted or refused, the transaction is over (RFC 5321 section 4.1.1.4).
            self._mail, self._recipients = None, []
        ending = {"drop": LOST, "hang": SILENT, "garbage": GARBAGE}.get(fault.split()[0])
        if ending is not None and not fault.endswith("after"):
            self._end(ending)
            return
        self.out.append(reply)
        if fault in ("stray ok after", "stray no after"):
            self.out.append(OK if "ok" in fault else Reply(550, None, "stray"))
        if fault == "421 unasked":
            self.out.append(Reply(421, None, "closing"))
        if fault in ("drop after", "421", "421 unasked"):
            self._end(LOST)
