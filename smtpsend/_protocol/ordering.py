"""What may be written before the reply to the command before it has been read.

`MAY_FOLLOW` is the table of RFC 2920 section 3.1 and RFC 3030, and
`IS_SYNCHRONISATION_POINT` the replies that can belong to one command only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar, final

from smtpsend._patterns import pattern
from smtpsend._protocol.failures import positive
from smtpsend._protocol.transaction import Stage, Transaction
from smtpsend._values import NamedTuple
from smtpsend.errors import Phase, Reply


LONGEST_WRITE = 65536
"""Octets of content in one write; longer content goes out in pieces."""


@final
class Verb:
    """A command, or the content with its end.

    This is no `Enum`, because CPython 3.11 needs several times as long to look a member
    up, and each reply needs some look-ups.

    Attributes:
        name: the verb of the command.
        phase: the phase of its failure.
    """

    __slots__ = ("name", "phase")

    RSET: ClassVar[Verb]
    MAIL: ClassVar[Verb]
    RCPT: ClassVar[Verb]
    DATA: ClassVar[Verb]
    CONTENT: ClassVar[Verb]  # the dot-stuffed content and the final dot
    BDAT: ClassVar[Verb]  # BDAT n LAST and the content (RFC 3030)
    EHLO: ClassVar[Verb]  # after the last message of a window
    QUIT: ClassVar[Verb]  # after the only message of a connection

    def __init__(self, name: str, phase: Phase) -> None:
        self.name = name
        self.phase = phase

    def __repr__(self) -> str:
        return self.name


Verb.RSET = Verb("RSET", Phase.MAIL)
Verb.MAIL = Verb("MAIL", Phase.MAIL)
Verb.RCPT = Verb("RCPT", Phase.RCPT)
Verb.DATA = Verb("DATA", Phase.DATA)
Verb.CONTENT = Verb("CONTENT", Phase.FINAL)
Verb.BDAT = Verb("BDAT", Phase.FINAL)
Verb.EHLO = Verb("EHLO", Phase.FINAL)
Verb.QUIT = Verb("QUIT", Phase.FINAL)


class Command(NamedTuple):
    """One command of a transaction, or of none.

    Attributes:
        address: the recipient of RCPT; empty for any other command.
    """

    verb: Verb
    transaction: Transaction | None = None
    address: str = ""


class Terms(NamedTuple):
    """What one use of a connection allows to pipeline.

    Attributes:
        pipelining: the server offers PIPELINING (RFC 2920).
        after_content: returns whether commands may follow the final dot now; this changes
            while connections find out whether the server supports it.
        windows: several messages may be sent by BDAT before a reply is read.
        quit: the connection ends after the message, with a QUIT pipelined after BDAT.
        quit_after_content: the same after the final dot.
    """

    pipelining: bool = False
    after_content: Callable[[], bool] = bool
    windows: bool = False
    quit: bool = False
    quit_after_content: bool = False


def _pipelining(terms: Terms, _: Transaction | None) -> bool:
    return terms.pipelining


def _whoever_is_refused(terms: Terms, transaction: Transaction | None) -> bool:
    # With require_all, no content may be sent while a recipient can still be refused.
    return terms.pipelining and transaction is not None and not transaction.require_all


def _after_content(terms: Terms, _: Transaction | None) -> bool:
    return terms.after_content()


def _quit_after_content(terms: Terms, _: Transaction | None) -> bool:
    return terms.quit_after_content


def _window(terms: Terms, _: Transaction | None) -> bool:
    return terms.windows


def _always(_: Terms, __: Transaction | None) -> bool:
    return True


MAY_FOLLOW: dict[tuple[Verb, Verb], Callable[[Terms, Transaction | None], bool]] = {
    # The command, the next one, and whether the next one may be written before the reply
    # to the first. A pair that is not here never may.
    (Verb.RSET, Verb.MAIL): _pipelining,
    (Verb.MAIL, Verb.RCPT): _pipelining,
    (Verb.RCPT, Verb.RCPT): _pipelining,
    (Verb.RCPT, Verb.DATA): _whoever_is_refused,
    (Verb.RCPT, Verb.BDAT): _whoever_is_refused,
    (Verb.CONTENT, Verb.MAIL): _after_content,
    (Verb.CONTENT, Verb.QUIT): _quit_after_content,
    (Verb.BDAT, Verb.RSET): _window,
    (Verb.BDAT, Verb.EHLO): _always,
    (Verb.BDAT, Verb.QUIT): _always,
}

IS_SYNCHRONISATION_POINT: dict[Verb, Callable[[Reply], bool]] = {
    # A reply that can belong to this command only. It proves that each reply before it
    # was paired with its own command.
    Verb.DATA: lambda reply: reply.code == 354,
    Verb.EHLO: lambda reply: reply.code == 250 and "\n" in reply.text,
    Verb.QUIT: lambda reply: reply.code == 221,
}


def exists(verb: Verb, code: int) -> bool:
    """Whether replies of a class exist for a command (RFC 5321 section 4.3.2)."""
    if code >= 400:
        return True
    # A 221 is the reply to QUIT only.
    return code == 354 if verb is Verb.DATA else code < 300 and code != 221


def record_usual(
    awaiting: deque[Command], replies: deque[Reply]
) -> tuple[list[Command], Reply | None]:
    """Record the replies at the head of `replies` that accept what was asked.

    These are the 250s to RSET, MAIL, RCPT and BDAT, where no earlier reply to the message
    was negative. They are nearly all replies, so they have this shorter way. Every other
    reply is left to `Pipeline.receive`.

    Args:
        awaiting: the commands without a reply; those that get one are removed.
        replies: the replies that were received; those that are recorded are removed.

    Returns:
        The commands that got a reply, and the last of these replies.
    """
    recorded: list[Command] = []
    last: Reply | None = None
    for command, reply in zip(awaiting, replies, strict=False):
        verb, transaction, address = command
        if reply.code != 250 or transaction is None:
            break
        if transaction.mail_refused is not None:
            break
        if verb is Verb.RCPT:
            transaction.accepted.append(address)
        elif verb is Verb.BDAT:
            if transaction.refusal() is not None:
                break
            transaction.reply, transaction.stage = reply, Stage.REPLIED
        elif verb is not Verb.MAIL and verb is not Verb.RSET:
            break
        recorded.append(command)
    for _ in recorded:
        awaiting.popleft()
        last = replies.popleft()
    return recorded, last


def out_of_place(command: Command, transaction: Transaction, reply: Reply) -> str | None:
    """Why a reply cannot belong to a command; None if it can."""
    verb, ended = command.verb, transaction.stage >= Stage.ENDED
    if not exists(verb, reply.code):
        return f"a reply out of place: {reply}"
    if verb is Verb.RSET and reply.code >= 400 and reply.code != 421:
        return f"the server refused RSET: {reply}"
    if transaction.mail_refused is None or not positive(reply):
        return None
    if verb is Verb.RCPT and not ended:
        return f"a recipient was accepted after MAIL was refused: {reply}"
    if verb is Verb.BDAT:
        return f"the message was accepted after MAIL was refused: {reply}"
    return None


# A server that does not discard the chunk of a refused BDAT reads it as commands. So
# content with a line that begins with one of these verbs waits until the recipients are
# accepted. Before the verb, a server may skip white space and control characters.
# The letters are spelled out in both cases, because `re` finds the one branch that can
# match from its first set of letters, and with (?i:) it tries each of them.
_BRANCHES = (
    r"(?:A(?:TRN|UTH)|B(?:DAT|URL)|DATA|E(?:HLO|TRN|XPN)|HEL(?:O|P)|LHLO|MAIL|NOOP|QUIT|"
    r"R(?:CPT|SET)|S(?:AML|END|OML|TARTTLS)|TURN|VRFY|X(?:CLIENT|FORWARD))"
)
_LETTERS = [f"[{c}{c.lower()}]" if c.isalpha() else c for c in _BRANCHES]
_VERBS = "".join(_LETTERS).encode() + rb"\b"
_SKIPPED = rb"[\x00-\x09\x0b-\x20]*+"
_FIRST_LINE = pattern(_SKIPPED + _VERBS)
# The line end is spelled out, and not written as ^, so that the search jumps from line to
# line. The look-ahead has the letters that each place of a verb allows, in both cases: it
# needs a third of the time that a match of the verbs themselves needs.
_LATER_LINE = pattern(
    rb"\n" + _SKIPPED + rb"(?=[ABDEHLMNQRSTVXabdehlmnqrstvx][ACDEFHORSTUXacdefhorstux]"
    rb"[AEFILMNOPRTaefilmnoprt][ADHILNOPRTYadhilnoprty])" + _VERBS
)
# A server whose buffer for a command holds 512 octets (RFC 5321 section 4.5.3.1.4) may
# read the rest of a longer line as another line.
_LONGEST_LINE = 510


def _has_long_line(content: bytes) -> bool:
    # From each line end, the last one is looked for that the longest line would reach.
    place, last = 0, len(content) - 1
    while place < last:
        end = content.rfind(b"\n", place, place + _LONGEST_LINE + 1)
        if end < 0:
            return True
        place = end + 1
    return False


def cannot_be_commands(content: bytes) -> bool:
    """Whether no server can read a line of `content` as a command."""
    return (
        len(content) < LONGEST_WRITE
        and not _FIRST_LINE.match(content)
        and not _LATER_LINE.search(content)
        and (len(content) <= _LONGEST_LINE or not _has_long_line(content))
    )
