"""Decide what a send does next: one pure function over the policy's table (table.py)."""

from __future__ import annotations

from collections.abc import Sequence

from smtpsend._model.policy.policy import Method, Policy
from smtpsend._model.policy.table import Then, follows
from smtpsend._values import NamedTuple
from smtpsend.errors import Attempt


class Running(NamedTuple):
    """A method that is being tried; `idle` is the seconds since its last progress."""

    method: Method
    idle: float


class Try(NamedTuple):
    """Start this method; the running ones go on."""

    method: Method


class Wait(NamedTuple):
    """Wait for the running methods; decide again after `seconds`.

    None: decide again only when one of them ends.
    """

    seconds: float | None


class Stop(NamedTuple):
    """Abort the running methods; the send has failed."""


def decide(
    policy: Policy, attempts: Sequence[Attempt], running: Sequence[Running] = ()
) -> Try | Wait | Stop:
    """Decide what to do next.

    Args:
        policy: the policy, its methods in the order in which to try them.
        attempts: the methods that failed or were abandoned, in the order in which they
            ended.
        running: the methods that are being tried now.
    """
    if any(_is_final(policy, attempts, n) for n in range(len(attempts))):
        return Stop()
    busy = {r.method for r in running}
    tried = busy | {a.method for a in attempts}
    method = next((m for m in policy.methods if m not in tried), None)
    if attempts and not busy:
        last = attempts[-1]
        then = follows(last.event, policy.on_certificate_error)
        again = then is Then.NEXT_OR_FRESH_ONCE and method is None
        if then is Then.FRESH_ONCE or again:
            method = last.method  # by a fresh connection
    if not busy:
        return Stop() if method is None else Try(method)
    if method is None:
        return Wait(None)
    idle = min(r.idle for r in running)
    return Try(method) if idle >= policy.stagger else Wait(policy.stagger - idle)


def _is_final(policy: Policy, attempts: Sequence[Attempt], n: int) -> bool:
    """Whether the send stops at attempt `n`.

    It stops if the row of its event says so, or if the row allows something once and the
    same event has happened before.
    """
    event = attempts[n].event
    then = follows(event, policy.on_certificate_error)
    if then is Then.STOP:
        return True
    once = then in (Then.NEXT_ONCE, Then.NEXT_OR_FRESH_ONCE, Then.FRESH_ONCE)
    return once and any(a.event is event for a in attempts[:n])
