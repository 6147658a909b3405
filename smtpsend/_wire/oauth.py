"""Fetches an OAuth 2.0 token from its provider: a string, a function or a coroutine."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from smtpsend._model.server.credentials import OAuth2, check_token
from smtpsend._model.server.token_source import TokenSource
from smtpsend._model.shortage import shortage
from smtpsend._wire.callers_code import Stopped, call, passes, result_of
from smtpsend._wire.threads import in_thread
from smtpsend.errors import AuthError, ConfigError, Event, Phase


async def fetch_token(auth: OAuth2, timeout: float) -> str:
    """Return the token of `auth`; call the token provider if it has one.

    A provider that is no coroutine function runs in a thread of its own, because it may
    block on the network.

    Args:
        auth: the credentials.
        timeout: seconds within which the provider must return.

    Raises:
        AuthError: the provider raised an exception, did not return in time, or returned
            no usable token. The facts of an AuthError of the provider are kept. The text
            of any other exception is not shown, because it may hold the token.
            SystemExit and CancelledError of the provider are treated as ordinary errors,
            because the send itself was not cancelled.
    """
    if isinstance(auth.token, str):
        return auth.token
    provider = auth.token
    timer = asyncio.timeout(timeout)
    try:
        async with timer:
            return check_token(await _call(provider))
    except TimeoutError:
        ours = timer.expired()
        text = f"did not return within {timeout:.3g} s" if ours else "timed out"
        raise _failed(text, temporary=True, timed_out=ours) from None
    except AuthError as error:
        # The provider says why in words of its own, as the grants of smtpsend.oauth do.
        raise _as_given(error) from None
    except ConfigError as error:
        raise _failed(f"returned no usable token: {error.message}") from None
    except Stopped as error:
        # A shared refresh that another task cancelled may succeed the next time.
        temporary = issubclass(error.kind, asyncio.CancelledError)
        raise _failed(f"raised {error}", temporary=temporary) from None
    except BaseException as error:  # a provider can raise anything
        if passes(error):
            raise
        # The cause may be a shortage in the provider, or when its thread was started.
        short = shortage(error)
        text = f"raised {type(error).__name__}" if short is None else f"failed: {short}"
        temporary = isinstance(error, OSError) or short is not None
        raise _failed(text, temporary=temporary) from None


async def _call(
    provider: Callable[[], str] | Callable[[], Awaitable[str]],
) -> object:
    if inspect.iscoroutinefunction(provider):
        return await result_of(call(provider))
    result = await in_thread(provider, "smtpsend-token")
    # A functools.partial or a callable object may return an awaitable.
    return await result_of(result) if inspect.isawaitable(result) else result


def discard_token(auth: OAuth2, token: str) -> None:
    """Tell the provider that the server refused `token`, if it keeps tokens."""
    if isinstance(auth.token, TokenSource):
        auth.token.discard(token)


def _as_given(error: AuthError) -> AuthError:
    """Return a new error with the facts of `error`, and none of its frames."""
    return AuthError(
        error.message,
        phase=Phase.AUTH,
        event=Event.AUTH_REFUSED,
        temporary=error.temporary,
        timed_out=error.timed_out,
        hint=error.hint or _HINT,
    )


_HINT = "nothing was sent; look at the function that was given as OAuth2(token=...)"


def _failed(text: str, *, temporary: bool = False, timed_out: bool = False) -> AuthError:
    return AuthError(
        f"the token provider {text}",
        phase=Phase.AUTH,
        event=Event.AUTH_REFUSED,
        temporary=temporary,
        timed_out=timed_out,
        hint=_HINT,
    )
