"""The results file of ``smtpsend send-many``: one JSON object a line, never rewritten.

The entry ``attempting`` of a message is on disk before the last octet of its content is
written to a server. Its outcome is written as soon as it is known. So even after a crash,
the next run finds out from the file which messages may have been delivered.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from io import BufferedRandom
from types import TracebackType
from typing import Any, Self

from smtpsend._model.shortage import raise_if_short
from smtpsend.cli.exits import Exit, Problem
from smtpsend.errors import Phase


ATTEMPTING = "attempting"
# A message in one of these states is never sent again: it was delivered or may have been
# delivered to at least one recipient, or the server refused it permanently.
SETTLED = ("accepted", "partial", "unknown", "refused")
_HEAD = {"smtpsend": "results", "version": 1}


class Journal:
    """An open results file; several threads can use it at once.

    Args:
        path: the path of the file.
        resume: whether to go on with an existing file. Without it the file must not
            exist.

    Attributes:
        states: the last state of each message, by its digest.
        interrupted: the entries of an earlier run without an outcome; their state is now
            ``unknown``.
        unknown: the entries that were ``unknown`` before, by the digest of the message.

    Raises:
        Problem: the file cannot be used.
    """

    def __init__(self, path: str, *, resume: bool) -> None:
        self.states: dict[str, str] = {}
        self.interrupted: list[dict[str, Any]] = []
        self.unknown: dict[str, dict[str, Any]] = {}
        self._path = path
        self._writing = threading.Lock()
        self._file = _opened(path, resume=resume)
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        """Lock the file, because two runs with one file would send each message twice."""
        try:
            import fcntl
        except ImportError:  # not on Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Problem(
                Exit.CANNOT_WRITE, f"{self._path} is in use by another send-many"
            ) from None

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        if not content:
            self._write(_HEAD)
            return
        lines = [
            self._parsed(line, number)
            for number, line in enumerate(content.split(b"\n"), 1)
        ]
        if lines[0] is None or lines[0].get("smtpsend") != "results":
            raise Problem(Exit.DATA, f"{self._path} is not a results file of send-many")
        if not content.endswith(b"\n"):
            # The last line was cut off. The earlier entry of its message is used.
            self._file.write(b"\n")
        last: dict[str, dict[str, Any]] = {}
        for entry in lines[1:]:
            if entry is not None and isinstance(entry.get("sha256"), str):
                last[entry["sha256"]] = entry
        for key, entry in last.items():
            if entry.get("state") == ATTEMPTING:
                self.interrupted.append(entry)
                self.note("unknown", key, str(entry.get("name")), entry.get("message_id"))
            elif entry.get("state") == "unknown":
                self.unknown[key] = entry
            self.states.setdefault(key, str(entry.get("state")))

    def _parsed(self, line: bytes, number: int) -> dict[str, Any] | None:
        """Parse a line; return None if it was cut off."""
        try:
            found = json.loads(line)
        except ValueError:
            return None
        except RecursionError:
            raise Problem(
                Exit.DATA,
                f"{self._path} is not a results file of send-many: line {number} is "
                "nested too deep",
            ) from None
        return found if isinstance(found, dict) else None

    @property
    def counts(self) -> Counter[str]:
        """The number of messages in each state."""
        return Counter(self.states.values())

    def note(
        self, state: str, key: str, name: str, message_id: str | None, **facts: Any
    ) -> None:
        """Write that a message is in `state`; the entry is on disk on return.

        Raises:
            Problem: the file cannot be written.
        """
        self.note_all(state, [(key, name, message_id)], **facts)

    def note_all(
        self, state: str, messages: Iterable[tuple[str, str, str | None]], **facts: Any
    ) -> None:
        """Write that each of several messages is in `state`, and sync the file once.

        Args:
            messages: the digest, the name and the Message-ID of each.

        Raises:
            Problem: the file cannot be written.
        """
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        entries = []
        for key, name, message_id in messages:
            self.states[key] = state
            entries.append(
                {"state": state, "name": name, "sha256": key, "message_id": message_id}
                | {"time": when}
                | {name: value for name, value in facts.items() if value}
            )
        self._write(*entries)

    def _write(self, *entries: dict[str, Any]) -> None:
        lines = b"".join([json.dumps(entry).encode() + b"\n" for entry in entries])
        try:
            with self._writing:
                self._file.write(lines)
                self._file.flush()
                with suppress(OSError):  # a pipe or a device has nothing to sync
                    os.fsync(self._file.fileno())
        except OSError as error:
            raise Problem(
                Exit.CANNOT_WRITE, f"{self._path} cannot be written: {error.strerror}"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._file.close()


def _opened(path: str, *, resume: bool) -> BufferedRandom:
    """Open the file at `path`; only its owner can read a new one.

    The file holds addresses and replies. Other users may be able to write to its folder
    (/tmp), so a symbolic link is not followed.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | (0 if resume else os.O_EXCL)
    # Windows has no O_NOFOLLOW, and without O_BINARY it would translate line ends.
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        return os.fdopen(os.open(path, flags, 0o600), "ab+")
    except (OSError, ValueError) as error:
        raise_if_short(error, f"{path} cannot be written", Phase.CONFIG)
        if os.path.islink(path):  # noqa: PTH114  # Path raises for what is no path
            why = "is a symbolic link, which is not followed: name the file itself"
        elif isinstance(error, FileExistsError):
            why = "exists already: give --resume to go on with it, or another name"
        else:
            reason = getattr(error, "strerror", None) or "not a path of a file"
            why = f"cannot be written: {reason}"
        raise Problem(Exit.CANNOT_WRITE, f"{path} {why}") from None
