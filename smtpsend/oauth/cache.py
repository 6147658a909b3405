"""`TokenCache`: keeps one token until shortly before it expires; one renewal at a time.

A renewal serves all threads and event loops of the process: the first caller that finds
no usable token starts one, and all wait for its result.
"""

from __future__ import annotations

import contextvars
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from smtpsend._values import dataclass, field
from smtpsend.errors import AuthError
from smtpsend.oauth.endpoint.failures import Failure, internal, no_reply_in_time


# A token is renewed this many seconds before it expires, or a tenth of its lifetime
# before if that is less: a login may take a while, and clocks differ.
_MARGIN = 300.0
# RFC 6749 section 5.1 leaves it open how long a token without `expires_in` lasts.
_UNSTATED = 300.0
# A longer life is not believed: the server would refuse the token at some time anyway.
_LONGEST = 86400.0
# After a failed renewal, a token that is still valid is used for this many seconds
# before the next try.
_PAUSE = 30.0
# A refused token is replaced at once, but its replacement is not within this many
# seconds: if the server refuses every token of the account, new ones do not help, and
# authorization servers limit how many they issue.
_FRESH = 60.0


@dataclass(frozen=True, slots=True)
class Issued:
    """A token as the authorization server issued it.

    Attributes:
        token: the access token.
        lifetime: the seconds that it lasts from the request on; None if not stated.
        refresh_token: the new refresh token, where the server issued one.
    """

    token: str = field(repr=False)
    lifetime: float | None = None
    refresh_token: str | None = field(default=None, repr=False)


class _Renewal:
    """One request for a token, and those who wait for it."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.done = threading.Event()
        self.token: str | None = None
        self.failure: Failure | None = None


class TokenCache:
    """Keeps the token of one grant.

    Args:
        renew: asks the authorization server for a token; it blocks, and raises
            `AuthError`.
        patience: seconds after which nobody waits any longer for one renewal, and the
            next caller begins another.
    """

    def __init__(self, renew: Callable[[], Issued], patience: float) -> None:
        self._renew, self._patience = renew, patience
        self._token: str | None = None
        self._renew_at = self._expires_at = 0.0
        self._begin_anew()
        _CACHES.add(self)

    def _begin_anew(self) -> None:
        """Forget what other threads do; after a fork, they do not exist."""
        self._lock = threading.Lock()
        self._renewal: _Renewal | None = None
        self._failure: tuple[float, Failure] | None = None  # until when it stands
        self._replaced_at: float | None = None

    def get(self) -> str:
        """Return the token; wait for a renewal if there is none that lasts.

        Raises:
            AuthError: the renewal failed, and no token is left that is still valid.
        """
        token, renewal, ours = self._look()
        if token is not None:
            return token
        assert renewal is not None  # noqa: S101
        if ours:
            self._start(renewal)
        left = renewal.begun + self._patience - monotonic()
        if not renewal.done.wait(max(0.0, left)):
            raise no_reply_in_time(self._patience).error()
        if renewal.token is not None:
            return renewal.token
        assert renewal.failure is not None  # noqa: S101
        raise renewal.failure.error()

    def discard(self, token: str) -> None:
        """Drop `token`, which a server refused, unless it is a new one (see `_FRESH`)."""
        with self._lock:
            now = monotonic()
            if token != self._token:
                return  # it was replaced meanwhile
            if self._replaced_at is None or now - self._replaced_at >= _FRESH:
                self._token, self._failure = None, None
                self._replaced_at = now

    def _look(self) -> tuple[str | None, _Renewal | None, bool]:
        """Return the token, or the renewal to wait for and whether to carry it out.

        Raises:
            AuthError: the authorization server asked to be left alone for now.
        """
        with self._lock:
            now = monotonic()
            if self._token is not None and now < self._renew_at:
                return self._token, None, False
            valid = self._token if now < self._expires_at else None
            if self._failure is not None and now < self._failure[0]:
                if valid is None:
                    raise self._failure[1].error()
                return valid, None, False
            renewal = self._renewal
            if renewal is not None and now < renewal.begun + self._patience:
                # While another caller renews the token, a valid one serves all others.
                return valid, renewal, False
            self._renewal = renewal = _Renewal(now)
            return None, renewal, True

    def _start(self, renewal: _Renewal) -> None:
        """Carry out a renewal in a thread of its own.

        A look-up of the name may block for longer than any time limit of the request, and
        a Ctrl-C of one caller is not to fail the others.
        """
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=lambda: context.run(self._run, renewal),
            name="smtpsend-oauth",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:
            # No further thread can be started: at the limit of the machine, or because
            # the interpreter is ending.
            self._run(renewal)

    def _run(self, renewal: _Renewal) -> None:
        """Carry out a renewal, and wake those who wait for it."""
        try:
            self._keep(renewal, self._renew())
        except AuthError as error:
            self._failed(renewal, Failure.of(error))
        except BaseException as error:  # noqa: BLE001  # the caller's functions, too
            self._failed(renewal, internal(error))
        finally:
            with self._lock:
                if self._renewal is renewal:
                    self._renewal = None
            renewal.done.set()

    def _keep(self, renewal: _Renewal, issued: Issued) -> None:
        life = _UNSTATED if issued.lifetime is None else min(issued.lifetime, _LONGEST)
        renewal.token = issued.token
        with self._lock:
            expires_at = renewal.begun + life
            if self._token is not None and expires_at < self._expires_at:
                return  # an abandoned renewal that ended after a newer one
            self._token, self._failure = issued.token, None
            self._expires_at = expires_at
            self._renew_at = expires_at - min(_MARGIN, life / 10)

    def _failed(self, renewal: _Renewal, failure: Failure) -> None:
        with self._lock:
            now = monotonic()
            valid = self._token if now < self._expires_at else None
            pause = failure.retry_after or (_PAUSE if valid is not None else 0.0)
            if pause:
                self._failure = (now + pause, failure)
        renewal.token, renewal.failure = valid, failure


_CACHES: weakref.WeakSet[TokenCache] = weakref.WeakSet()


def _after_fork() -> None:
    """Let the child renew for itself: the lock may be held by a thread that is gone."""
    for cache in list(_CACHES):
        cache._begin_anew()


with suppress(AttributeError):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_after_fork)
