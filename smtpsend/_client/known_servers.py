"""The servers that this process has used: the method that worked, and their quirks.

The keys are the host, the methods and the way to the host: the proxy, the address that
connections come from, and the name of the certificate, since the ports that are open
depend on the first two, and tunnels to several servers may have one host. Never an object
or credentials, so that one-shot sends and clients share the entries.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace

from smtpsend._model.policy.policy import Method, Policy
from smtpsend._model.server.server import Server
from smtpsend._protocol.quirks import Quirks


_MAX_SERVERS = 1000

_Key = tuple[str, tuple[Method, ...], tuple[object, ...]]
_worked: OrderedDict[_Key, tuple[Method, float]] = OrderedDict()
_quirks: OrderedDict[_Key, Quirks] = OrderedDict()


def key_of(server: Server) -> _Key:
    """Return what a server is remembered by."""
    proxy = None if server.proxy is None else (server.proxy.scheme, server.proxy.where)
    way = (proxy, server.source_address, server.tls_name)
    return (server.host, server.policy.methods, way)


def preferred_order(server: Server) -> Policy:
    """Return the policy of `server` with the method that last worked as the first one."""
    policy = server.policy
    found = _worked.get(key_of(server))
    if found is None or not policy.remember:
        return policy
    method, when = found
    if time.monotonic() - when > policy.remember or method == policy.methods[0]:
        return policy
    others = tuple(m for m in policy.methods if m != method)
    return replace(policy, methods=(method, *others))


def remember(server: Server, method: Method) -> None:
    """Remember that `method` gave an authenticated session."""
    if server.policy.remember:
        _worked[key_of(server)] = (method, time.monotonic())
        if len(_worked) > _MAX_SERVERS:
            _worked.popitem(last=False)


def forget(server: Server, method: Method) -> None:
    """Forget `method` if it is the remembered one."""
    key = key_of(server)
    if (found := _worked.get(key)) is not None and found[0] == method:
        _worked.pop(key, None)


def quirks(server: Server) -> Quirks:
    """Return the quirks of a server; its sessions share this object and add to it."""
    found = _quirks.setdefault(key_of(server), Quirks())
    if len(_quirks) > _MAX_SERVERS:
        _quirks.popitem(last=False)
    return found
