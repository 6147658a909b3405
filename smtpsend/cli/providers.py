"""``smtpsend providers``: the mail providers that are known by name."""

from __future__ import annotations

import argparse
from typing import Any

from smtpsend._model.server.providers import (
    Provider,
    provider_named,
    provider_of,
    providers,
)
from smtpsend.cli.exits import Exit
from smtpsend.cli.terminal.output import OUT
from smtpsend.cli.terminal.screen import NO_BREAK, Screen


def list_providers(arguments: argparse.Namespace) -> Exit:
    """Print a line for each provider, or all that is known of one."""
    found = (
        list(providers().values())
        if arguments.name is None
        else [provider_of(arguments.name) or provider_named(arguments.name)]
    )
    if arguments.json:
        OUT.json({"providers": [_plain(provider) for provider in found]}, indent=2)
        return Exit.OK
    screen = Screen()
    if arguments.name is not None:
        _show(found[0], screen)
        return Exit.OK
    width = max(len(provider.key) for provider in found)
    for provider in found:
        screen.block(
            f"{provider.name}: {provider.host} on {_ports(provider)}",
            first=f"{provider.key:<{width}}  ",
            indent=" " * (width + 2),
        )
    return Exit.OK


def _show(provider: Provider, screen: Screen) -> None:
    screen.line((provider.name, "head"))
    facts = [
        ("name here", ", ".join((provider.key, *provider.aliases))),
        ("host", provider.host),
        *((f"in {region}", host) for region, host in provider.regions.items()),
        ("ports", _ports(provider)),
        ("login", provider.login),
        *(("note", note) for note in provider.notes),
        *(("source", source) for source in provider.sources),
        ("as of", provider.as_of),
    ]
    for label, value in facts:
        screen.block(value, first=f"  {label:<10} ", indent=" " * 13)


def _ports(provider: Provider) -> str:
    return ", ".join(str(m).replace(" ", NO_BREAK) for m in provider.methods)


def _plain(provider: Provider) -> dict[str, Any]:
    return {
        "key": provider.key,
        "name": provider.name,
        "host": provider.host,
        "regions": dict(provider.regions),
        "methods": [
            {"port": method.port, "security": method.security}
            for method in provider.methods
        ],
        "username": provider.username,
        "login": provider.login,
        "notes": list(provider.notes),
        "aliases": list(provider.aliases),
        "sources": list(provider.sources),
        "as_of": provider.as_of,
    }
