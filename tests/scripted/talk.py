"""How a script interrupts a conversation: at moments, and after a number of bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from scripted.stream import Mark, Stream, code_of
from scripted.wire import Over, Wire


if TYPE_CHECKING:
    import threading

    from scripted.actions import Action
    from scripted.script import Script


Commit = Callable[[int], object]
"""Called with a reply's code, before the reply is sent, so that it is in the records when
the client reads it. It may be called again when more bytes are sent."""


class Talk:
    """The interface for actions: say, do_normal, keep_quiet, listen, pause, wire."""

    def __init__(self, wire: Wire, script: Script, ending: threading.Event) -> None:
        self.wire, self.script, self.record = wire, script, wire.record
        self.stream = Stream(wire)
        self.scripted = False
        """Whether any action has run; from then on there may be extra replies."""
        self._ending = ending
        self._over: str | None = None
        self._times: Counter[str] = Counter()
        self._send_mark: Mark | None = None
        self._begin(b"", lambda code: None)

    def say(self, data: bytes) -> None:
        """Send bytes as a part of the reply at this moment."""
        mark = self._send_mark
        if mark is not None and mark.left <= len(data):
            self._send_mark = None
            self._say(data[: mark.left])
            mark.do()
            data = data[mark.left :]
        elif mark is not None:
            mark.left -= len(data)
        self._say(data)

    def do_normal(self) -> None:
        """Do what a correct server does. Bytes that are sent later change no outcome."""
        if callable(self._normal):
            self._normal()
        else:
            self.say(self._normal)
            self._settled = True

    def keep_quiet(self) -> None:
        """Go on as if the normal reply had been sent."""
        if not callable(self._normal):
            self._conclude(code_of(self._normal))

    def listen(self) -> None:
        """Read, and send nothing, until the client has closed."""
        while self.wire.recv():
            pass
        self.wire.drain()

    def pause(self, seconds: float) -> None:
        """Wait, unless the server is being closed."""
        if self._ending.wait(seconds):
            raise Over("end")

    def play(
        self,
        moment: str,
        normal: bytes | Callable[[], object],
        commit: Commit = lambda code: None,
        *,
        command: bool = False,
    ) -> int:
        """Do the action of the script for this moment, else the correct behaviour.

        Returns the code of the reply, 0 if there was none. If an action ends the
        conversation, `Over` is raised not here, but by the next `check()`.
        """
        self._begin(normal, commit)
        action = self._scripted_action(moment, command=command)
        self.scripted = self.scripted or action is not None
        try:
            if action is None:
                self.do_normal()
            else:
                action.run(self)
        except Over as over:
            self._over = str(over)
        return self._code

    def check(self) -> None:
        """Raise `Over` if the last action ended the conversation.

        Raises:
            Over: it did.
        """
        if self._over is not None:
            raise Over(self._over)

    def arm(
        self, moment: str, commit: Commit = lambda code: None, *, past: int = 0
    ) -> list[Mark]:
        """Put the script's marks of a moment counted in bytes into the stream.

        `past` bytes have been counted before; the bytes in the stream count, too.
        """
        offset = past + len(self.stream.buffer)
        marks = [
            Mark(n - offset, partial(self._at_mark, action, commit))
            for n, action in self.script.marks(moment)
            if n > past or not past
        ]
        self.stream.marks += marks
        return marks

    def disarm(self, marks: list[Mark]) -> None:
        """Remove the marks from `arm` that were not reached."""
        self.stream.marks = [mark for mark in self.stream.marks if mark not in marks]

    def arm_sending(self) -> None:
        """Put the script's `sent-after-auth:N` before the next bytes sent."""
        for n, action in self.script.marks("sent-after-auth")[:1]:
            self._send_mark = Mark(n, partial(self._at_sending, action))

    def _at_sending(self, action: Action) -> None:
        if self.said.endswith(b"\n"):
            # The reply was sent, so these bytes are another one.
            self._begin(b"", lambda code: None)
        action.run(self)

    def _at_mark(self, action: Action, commit: Commit) -> None:
        self.scripted = True
        self._begin(b"", commit)
        action.run(self)

    def _scripted_action(self, moment: str, *, command: bool) -> Action | None:
        names = (moment, "command") if command else (moment,)
        self._times.update(names)
        found = (self.script.action(name, self._times[name]) for name in names)
        return next((action for action in found if action is not None), None)

    def _begin(self, normal: bytes | Callable[[], object], commit: Commit) -> None:
        self._normal, self._commit = normal, commit
        self.said, self._code, self._settled = b"", 0, False

    def _say(self, data: bytes) -> None:
        if len(self.said) < 1 << 16:  # an endless reply is no reply
            self.said += data
            if not self._settled:
                self._conclude(code_of(self.said))
        self.wire.send(data)

    def _conclude(self, code: int) -> None:
        self._code = code
        if code:
            self._commit(code)
            self.wire.changed()
