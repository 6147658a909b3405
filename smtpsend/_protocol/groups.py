"""Decides which commands are written together, from the tables of ordering.py."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from smtpsend._protocol.ordering import MAY_FOLLOW, Command, Terms, Verb
from smtpsend._protocol.transaction import Transaction


LARGEST_GROUP = 1000
"""Commands in one group before the replies are read, if one message has so many
recipients. More would gain nothing: the replies take longer than any round trip."""

# Each message needs several; the constructor of a named tuple is written in Python.
_command = tuple.__new__
# The first command of a transaction that is not known yet.
_RESET, _MAIL = Command(Verb.RSET), Command(Verb.MAIL)

More = Callable[[Verb | None], Transaction | None]
"""Returns the next transaction, or None. Its argument is the command after which the
transaction is written before the reply is read; None if no reply is missing."""


class Groups:
    """The commands that are planned, and those of them that are written next.

    Args:
        terms: what may be pipelined.
        more: returns the next transaction.
        begun: a list to which each transaction is added that gets commands here.

    Attributes:
        group: the commands to be written now.
        planned: the commands of a later group.
        needs_reset: the server has a transaction that it has not ended, after all these.
    """

    def __init__(
        self, terms: Terms, more: More, begun: list[Transaction], *, needs_reset: bool
    ) -> None:
        self.group: list[Command] = []
        self.planned: deque[Command] = deque()
        self.needs_reset = needs_reset
        self._terms = terms
        self._more = more
        self._begun = begun
        # By `by_bdat` and `require_all` of a transaction; the table is not asked again
        # for each command of each message.
        self._one_group: dict[tuple[bool, bool], bool] = {}

    def next_group(self) -> list[Command]:
        """Return the commands to be written now; all written before have their reply."""
        group, planned = self.group, self.planned
        while True:
            last = group[-1] if group else None
            if not planned:
                if not self._plan_after(last):
                    return group
                continue
            command = planned[0]
            if last is not None and not self._may_follow(last, command):
                return group
            if len(group) >= LARGEST_GROUP and command.verb is Verb.RCPT:
                return group
            group.append(planned.popleft())

    def clear(self) -> None:
        """Write nothing more."""
        self.group = []
        self.planned.clear()

    def _is_one_group(self, transaction: Transaction) -> bool:
        """Whether all commands of a transaction may be written together."""
        if len(transaction.recipients) + 3 > LARGEST_GROUP:
            return False
        kind = (transaction.by_bdat, transaction.require_all)
        known = self._one_group.get(kind)
        if known is None:
            end = Verb.BDAT if transaction.by_bdat else Verb.DATA
            verbs = (Verb.RSET, Verb.MAIL, Verb.RCPT, Verb.RCPT, end)
            commands = [Command(verb, transaction) for verb in verbs]
            known = all(map(self._may_follow, commands, commands[1:]))
            self._one_group[kind] = known
        return known

    def _may_follow(self, last: Command, command: Command) -> bool:
        condition = MAY_FOLLOW.get((last.verb, command.verb))
        return condition is not None and condition(self._terms, command.transaction)

    def _plan_after(self, last: Command | None) -> bool:
        """Add the commands after `last` to the group or plan them, if there are any.

        Returns:
            Whether there are any.
        """
        start = _RESET if self.needs_reset else _MAIL
        if last is None or self._may_follow(last, start):
            transaction = self._more(None if last is None else last.verb)
            if transaction is not None:
                self._begun.append(transaction)
                self._plan(transaction)
                return True
        point = None if last is None else self._point_after(last)
        if last is not None and point is not None and self._may_follow(last, point):
            self.planned.append(point)
        return bool(self.planned)

    def _point_after(self, last: Command) -> Command | None:
        """The command whose reply is the synchronisation point after the end."""
        if last.verb is Verb.BDAT:
            return Command(Verb.QUIT if self._terms.quit else Verb.EHLO)
        if last.verb is Verb.CONTENT and _all_asked(last):
            return Command(Verb.QUIT)
        return None

    def _plan(self, transaction: Transaction) -> None:
        commands = self.group if self._is_one_group(transaction) else self.planned
        if self.needs_reset:
            commands.append(_command(Command, (Verb.RSET, transaction, "")))
        commands.append(_command(Command, (Verb.MAIL, transaction, "")))
        for address in transaction.recipients:
            commands.append(_command(Command, (Verb.RCPT, transaction, address)))
        end = Verb.BDAT if transaction.by_bdat else Verb.DATA
        commands.append(_command(Command, (end, transaction, "")))
        self.needs_reset = True


def _all_asked(end: Command) -> bool:
    """Whether no recipient is left for another transaction on the connection."""
    return end.transaction is not None and not end.transaction.deferred
