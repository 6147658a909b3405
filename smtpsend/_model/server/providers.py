"""Mail providers by name: their hosts, ports and logins, which providers.json holds.

The file is read at the first use, and never by an import.
"""

from __future__ import annotations

import difflib
import json
import pkgutil
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from smtpsend._model.address.domain import shown
from smtpsend._model.policy.policy import Method
from smtpsend._patterns import pattern
from smtpsend._values import dataclass
from smtpsend.errors import ConfigError


__all__ = ["Provider", "provider_named", "provider_of", "providers"]

# The order in which the ports of a provider are tried: first those that most networks
# leave open. 443 comes last, since networks with a proxy for the web break SMTP there.
_ORDER = (587, 465, 2525, 2587, 2465, 8025, 8465, 588, 80, 443)
_REGION = pattern(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LONGEST_REGION = 40
_NAME = pattern(r"[a-z0-9 ._-]{1,40}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known of a provider.

    Attributes:
        key: the name for `Server.at`.
        name: the name for people.
        host: the host of the default region; it holds ``{region}`` if a region must be
            given.
        regions: the hosts of other regions.
        methods: every port, except 25, in the order in which they are tried.
        username: the user name, if it is the same for all accounts.
        login: the kind of login, in words.
        notes: limits, changes to messages, and the meaning of refusals.
        aliases: other names for `Server.at`.
        sources: where these facts come from.
        as_of: the month in which they were looked up.
    """

    key: str
    name: str
    host: str
    regions: Mapping[str, str]
    methods: tuple[Method, ...]
    username: str | None
    login: str
    notes: Sequence[str]
    aliases: Sequence[str]
    sources: Sequence[str]
    as_of: str

    def host_in(self, region: str | None) -> str:
        """The host in a region; None stands for the default region.

        Raises:
            ConfigError: the provider has no such region, or one must be given.
        """
        if region is None:
            if "{region}" in self.host:
                raise ConfigError(
                    f"{self.name} has a host in each region",
                    hint=f"give region= (or SMTP_REGION), for the host {self.host}",
                )
            return self.host
        if "{region}" in self.host:
            short = isinstance(region, str) and len(region) <= _LONGEST_REGION
            if not short or not _REGION.fullmatch(region):
                raise ConfigError(
                    f"not a region of {self.name}: {shown(region)}",
                    hint="write it as the provider does, such as eu-west-1",
                )
            return self.host.replace("{region}", region)
        if not isinstance(region, str) or region not in self.regions:
            known = ", ".join(self.regions)
            raise ConfigError(
                f"not a region of {self.name}: {shown(region)}",
                hint=f"its regions are {known}" if known else "it has no regions",
            )
        return self.regions[region]

    def serves(self, host: str) -> bool:
        """Whether a host is one of this provider."""
        if "{region}" in self.host:
            before, _, after = self.host.partition("{region}")
            region = host.removeprefix(before).removesuffix(after)
            return host == before + region + after and bool(_REGION.fullmatch(region))
        return host == self.host or host in self.regions.values()


@lru_cache(maxsize=1)
def providers() -> Mapping[str, Provider]:
    """All providers by their keys, in alphabetical order."""
    data = pkgutil.get_data(__name__.rpartition(".")[0], "providers.json")
    assert data is not None  # noqa: S101  # the file is a part of the package
    return {key: _provider(key, row) for key, row in json.loads(data).items()}


def _provider(key: str, row: dict[str, object]) -> Provider:
    starttls, implicit = row.pop("starttls"), row.pop("implicit")
    assert isinstance(starttls, list)  # noqa: S101
    assert isinstance(implicit, list)  # noqa: S101
    methods = [Method(port, "starttls") for port in starttls]
    methods += [Method(port, "implicit") for port in implicit]
    methods.sort(key=lambda method: _ORDER.index(method.port))
    given = {"regions": {}, "username": None, "notes": (), **row}
    return Provider(key=key, methods=tuple(methods), **given)  # type: ignore[arg-type]


def provider_named(name: object) -> Provider:
    """Return the provider of a name, whatever its case, hyphens and blanks.

    Raises:
        ConfigError: no provider has this name.
    """
    names = _names()
    found = names.get(_folded(name)) if isinstance(name, str) else None
    if found is None:
        close = difflib.get_close_matches(_folded(str(name))[:40], names, 3)
        keys = list(dict.fromkeys(names[one] for one in close))
        meant = f"did you mean {' or '.join(keys)}? " if keys else ""
        # What has another form may be a URL with a password: no error may quote it.
        named = isinstance(name, str) and _NAME.fullmatch(name)
        raise ConfigError(
            f"not a known provider: {shown(name)}" if named else "not a known provider",
            hint=f"{meant}`smtpsend providers` lists them; for others give the host",
        )
    return providers()[found]


@lru_cache(maxsize=1)
def _names() -> Mapping[str, str]:
    return {
        _folded(name): key
        for key, row in providers().items()
        for name in (key, *row.aliases)
    }


def _folded(name: str) -> str:
    return re.sub(r"[\s._-]", "", name).lower()


def provider_in(names: Sequence[str]) -> tuple[Provider, str] | None:
    """Find a provider by the names of a certificate.

    Args:
        names: host names; one may begin with a wildcard, ``*.``, for one label.

    Returns:
        The provider, and its host that a name is for; None if it is not known.
    """
    for name in (name.lower() for name in names):
        if (row := provider_of(name)) is not None:
            return row, name
        for row in providers().values() if name.startswith("*.") else ():
            for host in (row.host, *row.regions.values()):
                if host.partition(".")[2] == name[2:] and "{" not in host:
                    return row, host
    return None


def provider_of(host: str) -> Provider | None:
    """Return the provider that a host belongs to, or None if it is not known."""
    host = host.lower().removesuffix(".")
    return next((row for row in providers().values() if row.serves(host)), None)
