"""The servers that this process has used: the method that worked, and their quirks.

The keys are host and methods, never an object or credentials, so that one-shot sends and
clients share the entries.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace

from smtpsend._model.policy.policy import Method, Policy
from smtpsend._protocol.quirks import Quirks


_MAX_SERVERS = 1000

_Key = tuple[str, tuple[Method, ...]]
_worked: OrderedDict[_Key, tuple[Method, float]] = OrderedDict()
_quirks: OrderedDict[_Key, Quirks] = OrderedDict()


def preferred_order(host: str, policy: Policy) -> Policy:
    """Return `policy` with the method that last worked for `host` as the first one."""
    found = _worked.get((host, policy.methods))
    if found is None or not policy.remember:
        return policy
    method, when = found
    if time.monotonic() - when > policy.remember or method == policy.methods[0]:
        return policy
    others = tuple(m for m in policy.methods if m != method)
    return replace(policy, methods=(method, *others))


def remember(host: str, policy: Policy, method: Method) -> None:
    """Remember that `method` gave an authenticated session."""
    if policy.remember:
        _worked[host, policy.methods] = (method, time.monotonic())
        if len(_worked) > _MAX_SERVERS:
            _worked.popitem(last=False)


def forget(host: str, policy: Policy, method: Method) -> None:
    """Forget `method` if it is the remembered one."""
    key = (host, policy.methods)
    if (found := _worked.get(key)) is not None and found[0] == method:
        _worked.pop(key, None)


def quirks(host: str, policy: Policy) -> Quirks:
    """Return the quirks of a server; its sessions share this object and add to it."""
    found = _quirks.setdefault((host, policy.methods), Quirks())
    if len(_quirks) > _MAX_SERVERS:
        _quirks.popitem(last=False)
    return found
