"""A simulated SMTP server that records what it accepted, and has faults.

A fault stands at a command: at its verb, and how many times the verb came by then.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smtpsend.errors import Reply


OK = Reply(250, None, "ok")
EHLO = Reply(250, None, "sink\nPIPELINING\nCHUNKING")
GO_ON, BYE = Reply(354, None, "go on"), Reply(221, None, "bye")
STRAY_NO, CLOSING = Reply(550, None, "stray"), Reply(421, None, "closing")
NO, NO_RECIPIENT = Reply(550, None, "no"), Reply(550, "5.1.1", "who?")
FULL, NO_BDAT = Reply(552, None, "full"), Reply(502, None, "no BDAT")
NO_RSET, NO_EHLO = Reply(502, None, "no RSET"), Reply(503, None, "again?")
TOO_MANY = Reply(452, "4.5.3", "too many recipients")
NESTED, NO_MAIL = Reply(503, None, "nested MAIL"), Reply(503, None, "MAIL first")
NO_RCPT, WHAT = Reply(503, None, "RCPT first"), Reply(500, "5.5.2", "what?")

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

_REFUSALS = {
    "4yz": Reply(451, None, "4yz"),
    "5yz": Reply(554, None, "5yz"),
    "421": Reply(421, None, "421"),
    "421 stays": Reply(421, None, "421 stays"),
}
_EXTRA_BEFORE = {"stray ok before": OK, "stray no before": STRAY_NO, "354": GO_ON}
_EXTRA_AFTER = {
    "stray ok after": OK,
    "stray no after": STRAY_NO,
    "421 unasked": CLOSING,
}
# The connection ends like this before the reply.
_NO_REPLY = {
    "drop before": LOST,
    "drop unsaid": LOST,
    "hang before": SILENT,
    "hang unsaid": SILENT,
    "garbage before": GARBAGE,
    "garbage unsaid": GARBAGE,
}
_NOT_EXECUTED = {*_REFUSALS, "drop before", "hang before", "garbage before"}
_DROP_AFTER = {"drop after", "421", "421 unasked"}
_POINTS = {"data": 354, "ehlo": 250, "quit": 221}


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
    too_many: Reply = TOO_MANY
    after_content: str = "replies"
    bdat: str = "known"
    rset: bool = True
    ehlo: bool = True

    @property
    def regular(self) -> bool:
        """Whether the server does what its EHLO announces."""
        known = self.after_content == "replies" and self.bdat == "known"
        return known and self.rset and self.ehlo


@dataclass(slots=True)
class World:
    """The server.

    Attributes:
        faults: each fault by the verb it stands at, and how many times that came by then.
        accepted: how often each message was accepted for each recipient.
        out: the replies that the client has not read; LOST, GARBAGE or SILENT at the end.
        hits: the verb that each fault came at.
        bare: the messages with an extra reply directly in front of the reply to their
            content, where the client had pipelined nothing after it.
        uncounted: the messages whose replies are followed by no synchronisation point,
            although an extra reply came among them; or with two extra replies.
        denied: the messages that were accepted after a 421, without a reply.
    """

    rules: Rules = field(default_factory=Rules)
    faults: Mapping[tuple[str, int], str] = field(default_factory=dict)
    accepted: Counter[tuple[str, str]] = field(default_factory=Counter)
    out: deque[Reply | str] = field(default_factory=deque)
    hits: list[str] = field(default_factory=list)
    ended: bool = False
    bare: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    _steps: dict[str, int] = field(default_factory=dict)  # faster than a Counter
    _mail: str | None = None
    _recipients: list[str] = field(default_factory=list)
    _ends_write: bool = False  # the command is the last one of its write
    _since_point: set[str] = field(default_factory=set)
    _extra_since_point: int = 0
    _said_closing: bool = False
    _last_code: int = 0

    @property
    def uncounted(self) -> set[str]:
        """See the class."""
        return self._since_point if self._extra_since_point else set()

    def group(self, commands: Sequence[tuple[str, str]]) -> None:
        """Execute commands that arrive in one write: each a verb and its argument."""
        after = ""
        for place, (verb, argument) in enumerate(commands, 1):
            if self.ended or after == "loses":
                return
            if after == "closes":
                self._end(LOST)
                return
            refused = after == "refuses" and verb in ("mail", "rcpt", "data")
            self._ends_write = place == len(commands)
            self._execute(verb, argument, refused=refused)
            if verb == "content":
                after = self.rules.after_content

    def _end(self, how: str) -> None:
        self.ended = True
        self.out.append(how)

    def _execute(self, verb: str, argument: str, *, refused: bool) -> None:
        self._steps[verb] = times = self._steps.get(verb, 0) + 1
        step = (verb, times)
        reply, commit = self._reply(verb, refused=refused or step in self.rules.refuse)
        if argument and verb in ("mail", "content", "bdat"):
            self._since_point.add(argument)
        fault = self.faults.get(step)
        if fault is None:
            self._carry_out(verb, argument, commit=commit)
            self._put(verb, reply)
        else:
            self.hits.append(verb)
            self._faulty(fault, verb, argument, reply, commit=commit)
        if verb == "bdat" and self.rules.bdat == "commands" and not self.ended:
            self._extra(WHAT)  # the chunk

    def _put(self, verb: str, reply: Reply) -> None:
        self.out.append(reply)
        self._last_code = reply.code
        point = _POINTS.get(verb) == reply.code and not self._said_closing
        if point and self._extra_since_point < 2:
            self._since_point, self._extra_since_point = set(), 0
        # What comes after it looks like a server that has not ended the session.
        self._said_closing |= reply.code in (221, 421)

    def _extra(self, reply: Reply) -> None:
        self.out.append(reply)
        self._last_code = reply.code
        self._extra_since_point += 1

    def _reply(self, verb: str, *, refused: bool) -> tuple[Reply, bool]:
        """The reply, and whether the command is executed."""
        rules = self.rules
        match verb:
            case "rset":
                return (OK, True) if rules.rset else (NO_RSET, False)
            case "ehlo":
                return (EHLO, True) if rules.ehlo else (NO_EHLO, False)
            case "quit":
                return BYE, True
            case "content":
                return (FULL, False) if refused else (OK, True)
        return self._reply_in_order(verb, refused=refused)

    def _reply_in_order(self, verb: str, *, refused: bool) -> tuple[Reply, bool]:
        """The same for a command that is accepted only in its place."""
        no = self._misplaced(verb)
        if no is None and refused:
            no = {"mail": NO, "rcpt": NO_RECIPIENT, "data": NO_RCPT, "bdat": FULL}[verb]
        if no is not None:
            return no, False
        return (GO_ON if verb == "data" else OK), True

    def _misplaced(self, verb: str) -> Reply | None:
        """The refusal of a command that has no place now; None for one that has."""
        rules, recipients = self.rules, self._recipients
        if verb == "mail":
            return None if self._mail is None else NESTED
        if verb == "rcpt":
            if self._mail is None:
                return NO_MAIL
            full = rules.limit is not None and len(recipients) >= rules.limit
            return rules.too_many if full else None
        if verb == "bdat" and rules.bdat != "known":
            return NO_BDAT
        return None if recipients else NO_RCPT

    def _carry_out(self, verb: str, argument: str, *, commit: bool) -> None:
        if verb == "content" or (commit and verb in ("rset", "ehlo", "bdat")):
            # An empty content has no message: it ends the transaction, and no more. So
            # does the content of a refused message (RFC 5321 section 4.1.1.4).
            if commit and argument and self._mail is not None:
                for address in self._recipients:
                    self.accepted[argument, address] += 1
            self._mail, self._recipients = None, []
        elif commit and verb == "mail":
            self._mail, self._recipients = argument, []
        elif commit and verb == "rcpt":
            self._recipients.append(argument)

    def _faulty(
        self, fault: str, verb: str, argument: str, reply: Reply, *, commit: bool
    ) -> None:
        if (extra := _EXTRA_BEFORE.get(fault)) is not None:
            self._extra(extra)
            if verb == "content" and self._ends_write:
                self.bare.add(argument)
        commit = commit and fault not in _NOT_EXECUTED
        self._carry_out(verb, argument, commit=commit)
        if (ending := _NO_REPLY.get(fault)) is not None:
            if commit and self._last_code == 421:
                self.denied.add(argument)
            self._end(ending)
            return
        self._put(verb, BYE if fault == "221" else _REFUSALS.get(fault, reply))
        if (extra := _EXTRA_AFTER.get(fault)) is not None:
            self._extra(extra)
        if fault in _DROP_AFTER:
            self._end(LOST)
