"""The results file of ``smtpsend send-many``: one JSON object a line, never rewritten.

A message is noted as ``attempting``, on disk, before its send begins; its outcome is
noted as soon as it is known. So however a run ends, the next run knows which messages
may have been delivered.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from smtpsend.cli.exits import Exit, Problem


ATTEMPTING = "attempting"
# A message in one of these states is never sent again: some or all of its recipients
# have it, or may have it, or the server refused it for good.
SETTLED = ("accepted", "partial", "unknown", "refused")
_HEAD = {"smtpsend": "results", "version": 1}


class Journal:
    """An open results file.

    Args:
        path: the path of the file.
        resume: whether to go on with an existing file. Without it the file must not
            exist.

    Attributes:
        states: the last state of each message, by its digest.
        interrupted: the entries of an earlier run without an outcome; they are now noted
            as ``unknown``.

    Raises:
        Problem: the file cannot be used.
    """

    def __init__(self, path: str, *, resume: bool) -> None:
        self.states: dict[str, str] = {}
        self.interrupted: list[dict[str, Any]] = []
        self._path = path
        if Path(path).exists() and not resume:
            raise Problem(
                Exit.CANNOT_WRITE,
                f"{path} exists already: give --resume to go on with it, or another name",
            )
        try:
            self._file = Path(path).open("ab+")  # noqa: SIM115  # closed in __exit__
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a path"
            raise Problem(Exit.CANNOT_WRITE, f"{path} cannot be written: {why}") from None
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        """Lock the file: two runs with one results file would send everything twice."""
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
        lines = [_parsed(line) for line in content.split(b"\n")]
        if lines[0] is None or lines[0].get("smtpsend") != "results":
            raise Problem(Exit.DATA, f"{self._path} is not a results file of send-many")
        if not content.endswith(b"\n"):
            # The last line was cut off. Its message has an earlier entry, which counts.
            self._file.write(b"\n")
        last: dict[str, dict[str, Any]] = {}
        for entry in lines[1:]:
            if entry is not None and isinstance(entry.get("sha256"), str):
                last[entry["sha256"]] = entry
        for key, entry in last.items():
            if entry.get("state") == ATTEMPTING:
                self.interrupted.append(entry)
                self.note("unknown", key, str(entry.get("name")), entry.get("message_id"))
            self.states.setdefault(key, str(entry.get("state")))

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
        self.states[key] = state
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write(
            {"state": state, "name": name, "sha256": key, "message_id": message_id}
            | {"time": when}
            | {name: value for name, value in facts.items() if value}
        )

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
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


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
