"""When a server that failed is tried again, while others are there to use.

A server that failed is left alone for the `retry_interval` of its policy. Then one send
at a time tries it. If that fails, the pause doubles; if it works, the server is used as
before. What concerns the server itself is kept for the process, by host and methods. What
concerns our credentials is kept in the client, for another client may have others.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from smtpsend._client import log
from smtpsend._client.known_servers import key_of
from smtpsend._model.policy.servers import Pause, pause_after
from smtpsend._values import dataclass
from smtpsend.errors import ConfigError, Event, SendError


if TYPE_CHECKING:
    from smtpsend._model.server.server import Server

_MAX_SERVERS = 1000
# The longest pause, in retry intervals.
_LONGEST = 32


@dataclass(slots=True)
class _Failed:
    pause: float  # seconds
    until: float  # on the monotonic clock


class Retries:
    """The servers that failed, and the sends that try one of them again.

    Threads use it without a lock, which a forked child could inherit locked: each step is
    one operation on a dict.
    """

    def __init__(self) -> None:
        self._failed: OrderedDict[Hashable, _Failed] = OrderedDict()
        # The end of each trial, for one that never reports it. The process is part of the
        # key, so that a forked child waits for no trial of its parent.
        self._trials: dict[tuple[int, Hashable], float] = {}

    def has_failed(self, key: Hashable) -> bool:
        """Whether a server has failed, and has not worked since."""
        return key in self._failed

    def seconds_left(self, key: Hashable) -> float:
        """Seconds until a failed server is tried again; 0 if it may be tried now."""
        found = self._failed.get(key)
        return 0.0 if found is None else max(0.0, found.until - time.monotonic())

    def begin_trial(self, key: Hashable, seconds: float) -> bool:
        """Begin to try a failed server again; return False if it is too early.

        Args:
            seconds: how long the trial may last; after that, another may begin.
        """
        found, now = self._failed.get(key), time.monotonic()
        if found is None:
            return True
        if now < found.until:
            return False
        trial, end = (os.getpid(), key), now + seconds
        if self._trials.get(trial, end) <= now:
            self._trials.pop(trial, None)
        return self._trials.setdefault(trial, end) is end

    def end_trial(self, key: Hashable) -> None:
        """Let another send try the server, if this one has learnt nothing about it."""
        self._trials.pop((os.getpid(), key), None)

    def failed(self, key: Hashable, interval: float) -> float:
        """Note that a server failed.

        Args:
            interval: the first pause in seconds.

        Returns:
            The seconds for which it is left alone from now on; 0 if nothing has changed.
        """
        self.end_trial(key)
        found, now = self._failed.get(key), time.monotonic()
        if not interval or (found is not None and now < found.until):
            return 0.0  # it failed for several sends at once
        pause = interval if found is None else min(2 * found.pause, _LONGEST * interval)
        self._failed[key] = _Failed(pause, now + pause)
        if len(self._failed) > _MAX_SERVERS:
            self._failed.popitem(last=False)
        return pause

    def worked(self, key: Hashable) -> bool:
        """Note that a server works; return whether it had failed before."""
        self.end_trial(key)
        return self._failed.pop(key, None) is not None

    def clear(self) -> None:
        """Forget everything."""
        self._failed.clear()
        self._trials.clear()


in_process = Retries()
"""What the sends of this process know of servers, by host and methods."""


class Availability:
    """Which of the servers of a client, or of one send, may be tried now.

    Args:
        servers: the servers.
        captured: whether a test captures the mail, so that failures are not real. None is
            kept then, and all servers may be tried.
    """

    def __init__(self, servers: Sequence[Server], *, captured: bool = False) -> None:
        self._servers = servers
        self._captured = captured
        self._own = Retries()  # by the position of the server

    def _kept(self, index: int) -> tuple[tuple[Retries, Hashable], ...]:
        key = key_of(self._servers[index])
        return (in_process, key), (self._own, index)

    def is_good(self, index: int) -> bool:
        """Whether a server has not failed lately."""
        if self._captured:
            return True
        return not any(retries.has_failed(key) for retries, key in self._kept(index))

    def describe(self, index: int) -> str:
        """Say in words what is known of a server; empty if it has not failed lately."""
        if self.is_good(index):
            return ""
        left = max(retries.seconds_left(key) for retries, key in self._kept(index))
        return f"failed; tried again in {left:.0f} s" if left else "failed; tried next"

    def begin_trial(self, index: int, seconds: float) -> bool:
        """Begin to try a failed server again; return False if it is left alone."""
        begun: list[tuple[Retries, Hashable]] = []
        for retries, key in self._kept(index):
            if not retries.begin_trial(key, seconds):
                for other, name in begun:
                    other.end_trial(name)
                return False
            begun.append((retries, key))
        return True

    def end_trial(self, index: int) -> None:
        """End a trial that showed nothing about the server."""
        for retries, key in self._kept(index):
            retries.end_trial(key)

    def worked(self, index: int) -> None:
        """Note that a server was reached and accepted the login."""
        if not self.is_good(index):
            for retries, key in self._kept(index):
                retries.worked(key)
            log.works_again(self._servers[index].host)

    def failed(self, index: int, error: SendError) -> None:
        """Note the error with which the send ended at a server."""
        if self._captured:
            return
        policy = self._servers[index].policy
        pause = pause_after(error, policy.on_certificate_error)
        (process, key), (own, number) = self._kept(index)
        seconds = 0.0
        if pause is Pause.PROCESS:
            own.end_trial(number)
            seconds = process.failed(key, policy.retry_interval)
        elif pause is Pause.CLIENT:
            process.worked(key)
            seconds = own.failed(number, policy.retry_interval)
        elif isinstance(error, ConfigError) or error.event in (None, Event.CERTIFICATE):
            self.end_trial(index)
        elif error.attempts:
            self.worked(index)
        else:
            self.end_trial(index)
        if seconds:
            log.left_alone(self._servers[index].host, seconds)
