"""``smtpsend send-many``: the messages of a folder or a mailbox, each once."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from smtpsend import Client, Outcome, SendError, Server
from smtpsend._client.sync import send_noted
from smtpsend._model.diagnosis.report import plain
from smtpsend._protocol.failures import Lost
from smtpsend._values import dataclass, field
from smtpsend.cli.credentials import server_from
from smtpsend.cli.exits import Exit, Problem, exit_of, state_of
from smtpsend.cli.journal import ATTEMPTING, SETTLED, Journal
from smtpsend.cli.messages import Entry, delivery_from, digest, entries, ready
from smtpsend.cli.terminal.output import OUT
from smtpsend.cli.terminal.progress import Progress
from smtpsend.cli.terminal.screen import Screen, seconds
from smtpsend.errors import AuthError, ConfigError, ConnectError
from smtpsend.prepared import Prepared


# The run stops after this many messages in a row for which no server was reached.
_MOST_UNREACHED = 3
_ENDING = b"\nsmtpsend: finishing what was begun; once more aborts it\n"
_STYLES = {"accepted": "good", "deferred": "warn", "unknown": "warn"}
_ORDER = ("accepted", "partial", "deferred", "refused", "invalid", "failed", "unknown")
# The first of these that happened is the exit code.
_CODES = {
    "unknown": Exit.UNKNOWN,
    "deferred": Exit.TEMPORARY,
    "failed": Exit.PERMANENT,
    "refused": Exit.PERMANENT,
    "invalid": Exit.DATA,
    "partial": Exit.PARTIAL,
}


def send_many(arguments: argparse.Namespace) -> Exit:
    """Send all messages of a source, and note the outcome of each in the results file."""
    found = entries(arguments.source)
    server = server_from(arguments)
    screen = Screen()
    results, resume = arguments.results, arguments.resume
    with Journal(results, resume=resume) as journal, screen.live() as update:
        progress = Progress(len(found), update, screen.width)
        batch = _Run(found, journal, screen, progress, quiet=arguments.json)
        batch.tell_interrupted()
        try:
            batch.run(server, arguments)
        except KeyboardInterrupt:
            text = f"interrupted; {len(batch.in_doubt)} may have been delivered"
            raise Problem(Exit.INTERRUPTED, f"{text}: see --resume") from None
    return batch.summary()


@dataclass(slots=True)
class _Run:
    """One run: the messages that are being sent, the outcomes, and whether to go on."""

    found: list[Entry]
    journal: Journal
    screen: Screen
    progress: Progress
    quiet: bool
    stopping: str = ""
    skipped: int = 0
    unknown_before: int = 0
    error: SendError | None = None
    in_doubt: set[int] = field(default_factory=set)  # their ends were written
    _given: dict[int, tuple[str, Entry, Prepared]] = field(default_factory=dict)
    _problem: Problem | None = None  # of writing the results file
    _unreached: int = 0

    def tell_interrupted(self) -> None:
        """Report the messages that an earlier run began and did not finish."""
        self.unknown_before += len(self.journal.interrupted)
        for entry in self.journal.interrupted:
            self._say(
                "unknown",
                str(entry.get("name")),
                f"an earlier run was cut off while it was sent; look for "
                f"{entry.get('message_id')} before you send it again",
            )

    def run(self, server: Server, arguments: argparse.Namespace) -> None:
        """Send the messages that are not settled yet."""
        messages = self._messages()
        with Client(server, max_connections=arguments.connections) as client:
            first = next(messages, None)
            if first is None:
                return
            # So that a wrong password or certificate is found before the first message.
            client.check(timeout=arguments.timeout)
            with self._signals():
                outcomes = send_noted(
                    client,
                    self._items(first, messages),
                    self._note_ends,
                    require_all=arguments.require_all,
                    timeout=arguments.timeout,
                    delivery=delivery_from(arguments),
                )
                for outcome in outcomes:
                    self._record(outcome)
                if self._problem is not None:
                    raise self._problem

    def _messages(self) -> Iterator[tuple[str, Entry, Prepared]]:
        """Yield the messages still to be sent, read and checked, each content once."""
        seen: set[str] = set()
        for entry in self.found:
            if self.stopping:
                return
            try:
                content = entry.read()
            except OSError as error:
                self._fail(entry, "", f"cannot be read: {error.strerror}")
                continue
            key = digest(content)
            if self.journal.states.get(key) in SETTLED or key in seen:
                self._skip(key, entry)
                continue
            seen.add(key)
            try:
                yield key, entry, ready(content)
            except ConfigError as error:
                self._fail(entry, key, error.message)

    def _items(
        self,
        first: tuple[str, Entry, Prepared],
        others: Iterator[tuple[str, Entry, Prepared]],
    ) -> Iterator[tuple[bytes, str, tuple[str, ...]]]:
        """Yield the messages as `Client.send_many` takes them."""
        index = 0
        item: tuple[str, Entry, Prepared] | None = first
        while item is not None and not self.stopping:
            self._given[index] = item
            message = item[2]
            yield message.content, message.sender, message.recipients
            index += 1
            item = next(others, None)

    def _note_ends(self, indices: list[int]) -> None:
        """Note messages in the results file, before their last octets are written.

        Raises:
            Lost: the file cannot be written, so that they must not be sent.
        """
        given = [self._given[index] for index in indices]
        try:
            self.journal.note_all(
                ATTEMPTING, [(key, entry.name, m.message_id) for key, entry, m in given]
            )
        except Problem as problem:
            self.stopping, self._problem = str(problem), problem
            raise Lost(str(problem)) from None
        self.in_doubt.update(indices)

    def _record(self, outcome: Outcome) -> None:
        self.in_doubt.discard(outcome.index)
        key, entry, message = self._given.pop(outcome.index)
        receipt, error = outcome.receipt, outcome.error
        state = state_of(receipt, error)
        facts: dict[str, Any] = {"error": plain(error)}
        if receipt is not None:
            facts = plain(receipt)
            facts.pop("message_id")
        self.journal.note(state, key, entry.name, message.message_id, **facts)
        if error is not None:
            self._say(state, entry.name, str(error.said()))
            self._look_at(error)
        elif receipt is not None and receipt.refused:
            text = "; ".join(f"{who}: {why}" for who, why in receipt.refused.items())
            self._say(state, entry.name, f"refused for {text}")
        self.progress.count(state)

    def _look_at(self, error: SendError) -> None:
        """Stop where the next message would fail for the same reason."""
        unreached = isinstance(error, ConnectError)
        self._unreached = self._unreached + 1 if unreached else 0
        lasting = isinstance(error, AuthError | ConnectError) and not error.temporary
        if lasting or self._unreached >= _MOST_UNREACHED:
            self.stopping = self.stopping or error.message
            self.error = error

    def _fail(self, entry: Entry, key: str, why: str) -> None:
        self.journal.note("invalid", key or entry.name, entry.name, None, why=why)
        self._say("invalid", entry.name, why)
        self.progress.count("invalid")

    def _skip(self, key: str, entry: Entry) -> None:
        self.skipped += 1
        self.progress.total -= 1
        # Each run reports it while the message is there: nobody may have looked for it.
        if (earlier := self.journal.unknown.pop(key, None)) is not None:
            self.unknown_before += 1
            self._say(
                "unknown",
                entry.name,
                f"an earlier run may have delivered it; look for "
                f"{earlier.get('message_id')} before you send it again",
            )

    def _say(self, state: str, name: str, text: str) -> None:
        if not self.quiet:
            style = _STYLES.get(state, "bad")
            self.screen.line((f"{state:<9}", style), f" {name}: {text}")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """On the first SIGINT or SIGTERM finish the running sends; abort on a second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _: object) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = f"interrupted ({signal.Signals(number).name})"
            self.progress.ending = True
            # Not print: the signal may have interrupted a print.
            if sys.stderr is not None:  # else the descriptor is that of another file
                with suppress(OSError):
                    os.write(2, _ENDING)

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def summary(self) -> Exit:
        """Print the result of the run; return the exit code."""
        counts = self.progress.counts
        left = self.progress.total - counts.total()
        code = self._code(left)
        if self.quiet:
            facts: dict[str, Any] = {"ok": code is Exit.OK, "exit": int(code)}
            facts |= {"counts": dict(counts), "skipped": self.skipped, "left": left}
            facts |= {"unknown_before": self.unknown_before}
            facts |= {"stopped": self.stopping or None, "error": plain(self.error)}
            OUT.json(facts, indent=2)
            return code
        words = [f"{counts[state]} {state}" for state in _ORDER if counts[state]]
        line = ", ".join(words) or "nothing to send"
        spent = seconds(self.progress.elapsed)
        self.screen.line((line, "head"), f" in {spent}" if words else "")
        if self.skipped:
            self.screen.line(
                f"{self.skipped} skipped: done or unknown before, or the same twice"
            )
        if left and self.stopping:
            self.screen.block((f"stopped: {self.stopping}", "bad"))
        if left or counts["deferred"] or counts["failed"]:
            rest = left + counts["deferred"] + counts["failed"]
            self.screen.line(f"{rest} not sent: run it again with --resume")
        if counts["unknown"] or self.unknown_before:
            self.screen.block(
                (
                    "What is unknown may have been delivered: look for its Message-ID "
                    "at the server before you send it again.",
                    "warn",
                )
            )
        return code

    def _code(self, left: int) -> Exit:
        counts = self.progress.counts
        if counts["unknown"] or self.unknown_before:
            return Exit.UNKNOWN
        if self.error is not None:
            return exit_of(self.error)
        if left and self.stopping:
            return Exit.INTERRUPTED
        return next((code for state, code in _CODES.items() if counts[state]), Exit.OK)
