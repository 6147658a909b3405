"""Fetches the password or the token for a login from a function or coroutine function."""

from __future__ import annotations

import asyncio
import inspect

from smtpsend._model.server.credentials import (
    Auth,
    OAuth2,
    Provider,
    check_secret,
    secret_kind,
)
from smtpsend._model.server.token_source import TokenSource
from smtpsend._model.shortage import shortage
from smtpsend._wire.callers.code import Stopped, call, passes, result_of
from smtpsend._wire.callers.threads import in_thread
from smtpsend._wire.secrets.source import Secret, source_of
from smtpsend.errors import AuthError, ConfigError, Event, Phase


async def fetch_secret(auth: Auth, provider: Provider, timeout: float) -> Secret:
    """Call the provider of `auth`, and return the password or token.

    A provider that is no coroutine function runs in a thread of its own, because it may
    block on the network. It is called once at a time (see `SecretSource`).

    Args:
        auth: the credentials.
        provider: their function.
        timeout: seconds within which the provider must return.

    Raises:
        AuthError: the provider raised an exception, did not return in time, or returned
            nothing usable. SystemExit and CancelledError of the provider are treated as
            ordinary errors, because the send itself was not cancelled. The text of the
            exception is not shown, because it may hold the secret; an `AuthError` of the
            provider is passed on.
    """
    try:
        async with asyncio.timeout(timeout):
            return await source_of(auth).ask(lambda: _called(auth, provider), timeout)
    except TimeoutError:
        text = f"did not return within {timeout:.3g} s"
        raise _failed(auth, text, temporary=True, timed_out=True) from None


def discard_token(auth: Auth, token: str) -> None:
    """Tell the provider that the server refused `token`, if it keeps tokens."""
    if isinstance(auth, OAuth2) and isinstance(auth.token, TokenSource):
        auth.token.discard(token)


async def _called(auth: Auth, provider: Provider) -> str:
    """Call the provider, and check what it returns.

    Raises:
        AuthError: it failed.
    """
    try:
        return check_secret(auth, await _result(auth, provider))
    except AuthError as error:
        raise _passed_on(error) from None
    except TimeoutError:
        raise _failed(auth, "timed out", temporary=True) from None
    except ConfigError as error:
        text = f"returned no usable {secret_kind(auth)}: {error.message}"
        raise _failed(auth, text) from None
    except Stopped as error:
        # A shared refresh that another task cancelled may succeed the next time.
        temporary = issubclass(error.kind, asyncio.CancelledError)
        raise _failed(auth, f"raised {error}", temporary=temporary) from None
    except BaseException as error:  # a provider can raise anything
        if passes(error):
            raise
        # The cause may be a shortage in the provider, or when its thread was started.
        short = shortage(error)
        text = f"raised {type(error).__name__}" if short is None else f"failed: {short}"
        temporary = isinstance(error, OSError) or short is not None
        raise _failed(auth, text, temporary=temporary) from None


async def _result(auth: Auth, provider: Provider) -> object:
    if inspect.iscoroutinefunction(provider):
        return await result_of(call(provider))
    result = await in_thread(provider, f"smtpsend-{secret_kind(auth)}")
    # A functools.partial or a callable object may return an awaitable.
    return await result_of(result) if inspect.isawaitable(result) else result


def _passed_on(error: AuthError) -> AuthError:
    """What a provider raised as an `AuthError`, without its traceback and causes."""
    return AuthError(
        error.message,
        phase=Phase.AUTH,
        event=Event.AUTH_REFUSED,
        temporary=error.temporary,
        timed_out=error.timed_out,
        hint=error.hint,
    )


def _failed(
    auth: Auth, text: str, *, temporary: bool = False, timed_out: bool = False
) -> AuthError:
    kind = secret_kind(auth)
    given = "Password(password=...)" if kind == "password" else "OAuth2(token=...)"
    return AuthError(
        f"the {kind} provider {text}",
        phase=Phase.AUTH,
        event=Event.AUTH_REFUSED,
        temporary=temporary,
        timed_out=timed_out,
        hint=f"nothing was sent; look at the function that was given as {given}",
    )
