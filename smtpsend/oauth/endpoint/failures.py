"""`Failure`: why no token was issued, as often as an error of it is raised."""

from __future__ import annotations

from smtpsend._model.shortage import HINT, shortage
from smtpsend._values import dataclass
from smtpsend.errors import AuthError, Event, Phase


@dataclass(frozen=True, slots=True)
class Failure:
    """The facts of an `AuthError`.

    Several threads may wait for one renewal, and an exception that is raised in several
    threads would collect the frames of all of them.

    Attributes:
        message: the text of the error.
        hint: what to do about it.
        temporary: whether a later renewal may succeed.
        timed_out: whether a time limit caused it.
        retry_after: seconds for which the server wants no further request (RFC 9110
            section 10.2.3), or 0.
    """

    message: str
    hint: str
    temporary: bool = False
    timed_out: bool = False
    retry_after: float = 0.0

    def error(self) -> AuthError:
        """Return a new error with these facts."""
        error = AuthError(
            self.message,
            phase=Phase.AUTH,
            event=Event.AUTH_REFUSED,
            temporary=self.temporary,
            timed_out=self.timed_out,
            hint=self.hint,
        )
        error.__dict__[_RETRY_AFTER] = self.retry_after
        return error

    @classmethod
    def of(cls, error: AuthError) -> Failure:
        """Return the facts of an error."""
        return cls(
            error.message,
            error.hint,
            error.temporary,
            error.timed_out,
            error.__dict__.get(_RETRY_AFTER, 0.0),
        )


# The attribute is not public: it serves the cache only.
_RETRY_AFTER = "_retry_after"


def no_reply_in_time(seconds: float) -> Failure:
    """The failure of a renewal that took too long."""
    return Failure(
        f"the authorization server issued no token within {seconds:.3g} s",
        "nothing was sent: see that this machine can reach the authorization server",
        temporary=True,
        timed_out=True,
    )


def internal(error: BaseException) -> Failure:
    """The failure of a renewal that ended by an exception that nobody expected.

    The text of the exception is not shown, because it may hold a secret.
    """
    short = shortage(error)
    return Failure(
        f"no token was issued: {short or type(error).__name__}",
        HINT if short else "nothing was sent: look at the functions given to the grant",
        temporary=short is not None,
    )
