"""What the process remembers of a server: the method that worked, and its quirks.

Keyed by host and methods, never by an object or by credentials, so that one-shot sends
and clients share it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace

from smtpsend._model.policy.policy import Method, Policy
from smtpsend._protocol.quirks import Quirks


_MOST = 1000

_Key = tuple[str, tuple[Method, ...]]
_worked: OrderedDict[_Key, tuple[Method, float]] = OrderedDict()
_quirks: OrderedDict[_Key, Quirks] = OrderedDict()


def preferred_order(host: str, policy: Policy) -> Policy:
    """`policy` with the method that worked last for `host` in front."""
    found = _worked.get((host, policy.methods))
    if found is None or not policy.remember:
        return policy
    method, when = found
    if time.monotonic() - when > policy.remember or method == policy.methods[0]:
        return policy
    others = tuple(m for m in policy.methods if m != method)
    return replace(policy, methods=(method, *others))


def remember(host: str, policy: Policy, method: Method) -> None:
    """Remember that `method` led to a session that the server let in."""
    if policy.remember:
        _worked[host, policy.methods] = (method, time.monotonic())
        if len(_worked) > _MOST:
            _worked.popitem(last=False)


def forget(host: str, policy: Policy, method: Method) -> None:
    """Forget `method` at once if it is the remembered one."""
    key = (host, policy.methods)
    if (found := _worked.get(key)) is not None and found[0] == method:
        _worked.pop(key, None)


def quirks(host: str, policy: Policy) -> Quirks:
    """What is known of the server; what a session adds to it is known from then on."""
    found = _quirks.setdefault((host, policy.methods), Quirks())
    if len(_quirks) > _MOST:
        _quirks.popitem(last=False)
    return found
