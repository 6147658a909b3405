"""Pairs replies with the commands of mail transactions; without I/O and without a clock.

The commands that may be written before a reply is read form a group. `next_group` returns
the next group once every command before it has its reply; `written` records that the
group is about to be written, as far as its last octet; each reply goes to `receive`, and
the end of the connection to `connection_lost`. `take_settled` returns the transactions
whose outcome is known by then. `MAY_FOLLOW` of ordering.py says what a group holds:

- Without PIPELINING, each command is a group.
- With it, a group is RSET MAIL RCPT... DATA, and the next is the content. The commands of
  the next message may follow the content in the same group.
- With CHUNKING as well, a group is a window of whole messages:

      client  RSET MAIL RCPT BDAT+content  RSET MAIL RCPT RCPT BDAT+content  EHLO
      server                                    250  250  250  250  250  250  250...  250-
                                               ----------- message 1 --  -- message 2    |
                                                              synchronisation point ----'

Replies do not name their command, and are paired with commands by counting. A
synchronisation point is a reply that can belong to one command only: the 354 to DATA, the
reply of several lines to EHLO, the 221 to QUIT. If it arrives where expected, each reply
before it belongs to the command that it was paired with. Until then, a transaction with a
reply is REPLIED and not SETTLED.

Extra replies do no harm while all replies are positive: then the server accepted
everything, whichever reply belongs to which command. If one was negative, no reply since
the last synchronisation point can be relied on, and the messages among them are unknown.
If the connection breaks, `fate` of transaction.py has the outcome.

RSET stands between two messages unless the server ended the one before: the server still
has the recipients of a message that it refused (RFC 5321 section 4.1.1.5), and after a
refused BDAT its state is indeterminate (RFC 3030 section 2).
"""

from __future__ import annotations

from collections import deque

from smtpsend._protocol.connection_state import ConnectionState, State
from smtpsend._protocol.failures import closing, early, no_bdat, positive, refusal
from smtpsend._protocol.groups import Groups, More
from smtpsend._protocol.ordering import (
    IS_SYNCHRONISATION_POINT,
    Command,
    Terms,
    Verb,
    exists,
    out_of_place,
    record_usual,
)
from smtpsend._protocol.quirks import AfterData, PipelineTrial, Quirks
from smtpsend._protocol.transaction import Break, Stage, Transaction, fate, not_bdat
from smtpsend.errors import Phase, Reply, SendError


_MOST_EXTRA_REPLIES = 8  # in front of a synchronisation point

_ENDS, _POINTS_AFTER_END = (Verb.CONTENT, Verb.BDAT), (Verb.EHLO, Verb.QUIT)


class Pipeline:
    """The commands of one use of a connection, and the replies to them.

    Args:
        state: the state of the connection, which outlives this object.
        terms: what may be pipelined.
        quirks: how the server deviates from what it announces; this object adds to it.
        more: returns the next transaction.

    Attributes:
        trial: finds out whether the server replies to commands after the content.
        after_content: the group began with the content of an earlier message.
        extra_replies: how many came in front of the synchronisation point.
        unsettled: the transactions that have commands here, but no outcome.
        awaiting: the commands without a reply, in order.
        broken: why the connection cannot be used any more; None as long as it can.
    """

    def __init__(
        self, state: ConnectionState, terms: Terms, quirks: Quirks, more: More
    ) -> None:
        self.trial = PipelineTrial(quirks)
        self.after_content = False
        self.extra_replies = 0
        self.unsettled: list[Transaction] = []
        self.broken: Break | None = None
        self._state = state
        self._quirks = quirks
        self._groups = Groups(terms, more, self.unsettled, needs_reset=state.needs_reset)
        self.awaiting: deque[Command] = deque()
        self._settled: list[Transaction] = []  # not returned by take_settled yet
        self._any_negative = False  # a reply since the last synchronisation point
        self._point_refused = False  # the EHLO at the end of a window
        self._mail_in_doubt = False  # it may be refused for its place; nothing follows
        self._last_421: SendError | None = None  # of the last reply, if it was a 421
        self._last_was_end = False  # the last reply was that to the end of a message
        self._negative_after_end = False  # the one before it was, and it is negative

    def next_group(self) -> list[Command]:
        """Return the commands to be written now; none if there is nothing to send."""
        ends = self._state.closed or self._mail_in_doubt
        return [] if ends else self._groups.next_group()

    def written(self) -> None:
        """Record that the last octet of the group is about to be written."""
        state, group = self._state, self._groups.group
        started, ended = Stage.STARTED, Stage.ENDED
        for verb, transaction, _ in group:
            if transaction is None:
                continue
            if verb is Verb.MAIL:
                transaction.stage = started
                state.transactions += 1
                state.needs_reset = True
            elif verb is Verb.BDAT or verb is Verb.CONTENT:
                transaction.stage = ended
        content_first = len(group) > 1 and group[0].verb is Verb.CONTENT
        self.after_content = content_first and group[1].verb is Verb.MAIL
        if self.after_content:
            self.trial.begin()
        state.state = State.BUSY
        self.awaiting.extend(group)
        self._groups.group = []

    def receive_all(self, replies: deque[Reply]) -> None:
        """Record replies until none is left, or no command awaits one."""
        state, awaiting = self._state, self.awaiting
        while awaiting and replies:
            recorded, last = record_usual(awaiting, replies)
            if last is None:
                self.receive(replies.popleft())
                continue
            verb, transaction, _ = recorded[-1]
            self._last_was_end = verb is Verb.BDAT
            self._last_421, self._negative_after_end = None, False
            state.served = state.served or any(x.verb is Verb.BDAT for x in recorded)
            if not awaiting and transaction is not None:
                self._group_read(verb, transaction, last)

    def receive(self, reply: Reply) -> None:
        """Record the next reply, which is paired with the first of `awaiting`."""
        verb, transaction, _ = command = self.awaiting[0]
        code = reply.code
        if verb in _POINTS_AFTER_END:
            self._point_reply(verb, reply)
            return
        self._any_negative |= (negative := code >= 400)
        # A 421 may come at any time (RFC 5321 section 3.8), and so tells nothing.
        self._negative_after_end = negative and self._last_was_end and code != 421
        self._last_421, self._last_was_end = None, False
        if transaction is None:
            self._empty_content_reply(reply)
            return
        if (why := out_of_place(command, transaction, reply)) is not None:
            fits = exists(verb, code)
            # After a refusal, the reply rather belongs to an earlier command.
            wrong = None if fits or self._any_negative else refusal(verb.phase, reply)
            self._break(
                why, command, unpaired=True, contradiction=fits, wrong_class=wrong
            )
            return
        if code == 421 and transaction.stage < Stage.ENDED:
            self._last_421 = closing(verb.phase, reply)
            self._break("the server ended the session", command)
            return
        self.awaiting.popleft()
        if verb in _ENDS:
            self._end_reply(verb, transaction, reply)
        else:
            self._envelope_reply(command, transaction, reply)
        if not self.awaiting and not self._state.closed:
            self._group_read(verb, transaction, reply)

    def _envelope_reply(
        self, command: Command, transaction: Transaction, reply: Reply
    ) -> None:
        """Record any other reply to RSET, MAIL, RCPT or DATA."""
        verb = command.verb
        if reply.code == 421:
            # The content was written already. A server that closes the connection right
            # after a 421 did not accept it (RFC 5321 section 3.8).
            self._last_421 = closing(verb.phase, reply)
            self._state.ends_after_group = True
        if verb is Verb.MAIL:
            transaction.mail_reply(reply)
            if transaction.mail_refused is not None:
                # No transaction began, so that there is nothing to reset.
                self._state.needs_reset = False
        elif verb is Verb.RCPT:
            transaction.recipient_reply(command.address, reply)

    def _end_reply(self, verb: Verb, transaction: Transaction, reply: Reply) -> None:
        """Record the reply to the end of a message."""
        state, code, by_bdat = self._state, reply.code, verb is Verb.BDAT
        transaction.end_reply(reply, by_bdat=by_bdat)
        self._last_was_end = state.served = True
        if by_bdat:
            if no_bdat(reply):
                self._quirks.no_bdat = True
            if code == 421:
                # A server that closes the connection now did not accept what follows.
                self._last_421 = closing(Phase.MAIL, reply)
            state.ends_after_group |= code == 421 or no_bdat(reply)
            return
        state.needs_reset = bool(self.awaiting)
        if code == 421:
            self._confirm()
            self._break("the server ended the session", None)

    def _empty_content_reply(self, reply: Reply) -> None:
        """Record the reply to the content of a message that the server has refused."""
        self.awaiting.popleft()
        self._state.needs_reset = bool(self.awaiting)
        if reply.code in (221, 421) or 300 <= reply.code < 400:
            self._break("the server ended the session", None)
        elif not self.awaiting:
            self._groups.needs_reset = False
            self._state.state = State.READY

    def _group_read(self, verb: Verb, transaction: Transaction, reply: Reply) -> None:
        """Go on after the last reply of a group."""
        refused = transaction.mail_refused
        if (self.after_content and self.trial.in_doubt(refused)) or (
            refused is not None and self._state.out_of_sequence(refused)
        ):
            # MAIL may have been refused only for what the connection sent before it.
            self._mail_in_doubt = True
            return
        self.after_content = False
        if verb is Verb.DATA:
            if IS_SYNCHRONISATION_POINT[verb](reply):
                self._content_wanted(transaction)
                return
            self._refused(transaction, refusal(Phase.DATA, reply))
        elif verb is Verb.CONTENT:
            self._confirm()
        elif transaction.mail_refused is not None or (
            self._groups.planned[0].verb is Verb.DATA
            and transaction.refusal() is not None
        ):
            # The other commands of the message would be pointless.
            self._groups.planned.clear()
            self._refused(transaction, None)
        if not self._groups.planned:
            self._groups.needs_reset = self._state.needs_reset
        self._state.state = State.READY

    def _content_wanted(self, transaction: Transaction) -> None:
        """Plan the content after a 354, which is a synchronisation point.

        A server that sends a 354 although it refused MAIL or every recipient gets an
        empty content (RFC 2920 section 3.1).
        """
        self._confirm()
        self._groups.needs_reset = False
        wanted: Transaction | None = transaction
        if transaction.refusal() is not None:
            self._refused(transaction, None)
            wanted = None
        self._groups.planned.append(Command(Verb.CONTENT, wanted))

    def _refused(self, transaction: Transaction, otherwise: SendError | None) -> None:
        """Settle a message whose content was not sent."""
        transaction.settle(transaction.refusal() or otherwise)
        self.unsettled.remove(transaction)
        self._settled.append(transaction)

    def _point_reply(self, verb: Verb, reply: Reply) -> None:
        """Record the reply to EHLO or QUIT after the end, or an extra reply before it."""
        self._state.state = State.SYNCING
        if self._point_refused:
            self._break(f"an extra reply: {reply}", None, unpaired=True)
            return
        ended = self.unsettled[-1].reply
        assert ended is not None  # noqa: S101  # the point is awaited after it
        # A server that ends the session has accepted what it has replied to.
        ends = verb is Verb.QUIT and reply.code == 421 and positive(ended)
        if ends or IS_SYNCHRONISATION_POINT[verb](reply):
            self._synchronised(verb)
            return
        self.extra_replies += 1
        negative = not positive(reply)
        if verb is Verb.EHLO and negative and self.extra_replies == 1:
            # The server refuses EHLO; or, if one more reply follows, this is the reply to
            # the last message.
            if reply.code != 421:
                self._quirks.no_window = True
            self._point_refused = True
            self._any_negative |= reply.code >= 400
        elif self.extra_replies >= _MOST_EXTRA_REPLIES:
            self._break("replies without end", None, unpaired=True)
        elif verb is Verb.QUIT and negative and not positive(ended):
            return  # The server may read the chunk that it refused as commands.
        elif negative or self._any_negative:
            self._any_negative = True
            why = f"an extra reply, and not all are positive: {reply}"
            self._break(why, None, unpaired=True)

    def _synchronised(self, verb: Verb) -> None:
        state = self._state
        ends = verb is Verb.QUIT or self.extra_replies > 0 or state.ends_after_group
        self.awaiting.clear()
        self._confirm()
        state.needs_reset = self._groups.needs_reset = False
        state.state = State.CLOSED if ends else State.CONFIRMED

    def _confirm(self) -> None:
        """Settle each transaction that has its reply."""
        self._any_negative = False
        replied, settled, left = Stage.REPLIED, Stage.SETTLED, []
        for transaction in self.unsettled:
            if transaction.stage is replied:
                transaction.stage = settled
                self._settled.append(transaction)
            elif transaction.stage is not settled:
                left.append(transaction)
        self.unsettled[:] = left

    def finish(self, *, unread: bool) -> None:
        """Settle what is left; if a reply is `unread`, it belongs to no command."""
        self.trial.end()
        if (unread or self._mail_in_doubt) and not self._state.closed:
            why = "an extra reply" if unread else "MAIL was refused after a message"
            self._break(why, None, unpaired=unread)
        else:
            self._confirm()

    def take_settled(self) -> list[Transaction]:
        """Return the transactions whose outcome is known, each once, in order."""
        settled, self._settled = self._settled, []
        return settled

    def early_reply(self, reply: Reply) -> None:
        """Record a reply that came before the end of the group was written."""
        command = self._groups.group[0]
        in_content = command.verb is Verb.CONTENT
        error = early(Phase.CONTENT if in_content else command.verb.phase, reply)
        self._break("the server ended the session", command, wrong_class=error)

    def connection_lost(
        self, why: str, *, timed_out: bool = False, extra_reply: bool = False
    ) -> None:
        """Record that nothing more can be written or read, because of `why`.

        Args:
            timed_out: the cause is a time limit of ours.
            extra_reply: the cause is a reply that came before its command was written.
        """
        commands = self.awaiting or self._groups.group
        command = commands[0] if commands else None
        if command is not None and command.verb in _POINTS_AFTER_END:
            # No more replies will come, so that the count was right.
            if timed_out and command.verb is Verb.QUIT and not self.unsettled[-1].by_bdat:
                # It is not waited for again.
                self._quirks.after_data = AfterData.LOST
            self._confirm()
            command = None
        self._break(why, command, timed_out=timed_out, unpaired=extra_reply)

    def _break(
        self,
        why: str,
        command: Command | None,
        *,
        timed_out: bool = False,
        unpaired: bool = False,
        contradiction: bool = False,
        wrong_class: SendError | None = None,
    ) -> None:
        """Settle all, because of the command that was awaited or to be written."""
        self._state.state = State.CLOSED
        blamed = None if command is None else command.transaction
        # The commands after the content may be the reason for the break. Nothing else of
        # their message was sent, so that it goes out on another connection.
        after = self.after_content and bool(self.awaiting) and self.trial.lost()
        if after and blamed is not None and blamed.stage <= Stage.STARTED:
            blamed = None
        phase = Phase.MAIL if command is None else command.verb.phase
        if blamed is not None and phase is Phase.FINAL and blamed.stage < Stage.ENDED:
            phase = Phase.CONTENT
        broken = Break(
            why,
            phase,
            blamed,
            timed_out=timed_out,
            closing=self._last_421,
            not_bdat=not_bdat(self.unsettled),
            contradiction=contradiction,
            in_doubt=unpaired and self._any_negative,
            wrong_class=wrong_class,
            negative_after_end=self._negative_after_end,
        )
        self.broken = broken
        self._quirks.note_break(self.unsettled, broken)
        for transaction in self.unsettled:
            transaction.settle(fate(transaction, broken))
        self._settled += self.unsettled
        for queue in (self.unsettled, self._groups, self.awaiting):
            queue.clear()
