"""The pytest fixtures for the real servers; tests/conftest.py loads this module.

A server is started when the first test asks for it and runs until the session ends.
SMTPSEND_SERVERS names the servers to use, separated by commas; by default all. The tests
of a server that is not installed are skipped; with SMTPSEND_REQUIRE_SERVERS=1 they fail.
"""

from __future__ import annotations

import os

import pytest

from servers import authorization as authorization_server
from servers.kinds import KINDS
from servers.real import DEFAULT_SIZE, SMALL_SIZE, USER, Certificates, RealServer


def _chosen() -> list[str]:
    asked = os.environ.get("SMTPSEND_SERVERS", "")
    return [name.strip() for name in asked.split(",") if name.strip()] or list(KINDS)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: runs against a real server")
    if strangers := set(_chosen()) - set(KINDS):
        known = ", ".join(KINDS)
        raise pytest.UsageError(f"SMTPSEND_SERVERS: {sorted(strangers)} not in: {known}")


# This hook runs before that of pytest-xdist, which reads the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "real_servers" in getattr(item, "fixturenames", ()):
            item.add_marker("real")
            # The tests of a server run in one process, so that it is started once.
            item.add_marker(pytest.mark.xdist_group(f"real-{_server_of(item)}"))


_FIXTURES = {
    "postfix": "postfix",
    "dovecot": "dovecot",
    "authorization": "dovecot",
    "chasquid": "chasquid",
    "smtp_server": "smtp-server",
    "aiosmtpd_server": "aiosmtpd",
}


def _server_of(item: pytest.Item) -> str:
    """The server that a test uses; one name for all tests that may use any."""
    callspec = getattr(item, "callspec", None)
    fixtures = getattr(item, "fixturenames", ())
    values = callspec.params.values() if callspec else ()
    given = [one for one in values if isinstance(one, str) and one in KINDS]
    named = [name for fixture, name in _FIXTURES.items() if fixture in fixtures]
    return next(iter([*given, *named]), "servers")


class RealServers:
    """The servers of this session; each is started for the first test that uses it."""

    def __init__(
        self, certificates: Certificates, factory: pytest.TempPathFactory
    ) -> None:
        self.certificates = certificates
        self._factory = factory
        self._running: dict[tuple[str, int], RealServer] = {}

    def get(self, name: str, max_size: int = DEFAULT_SIZE) -> RealServer:
        """The server of this name and size limit; skips the test if it cannot run."""
        if (name, max_size) in self._running:
            return self._running[name, max_size]
        if name not in _chosen():
            pytest.skip(f"{name}: left out by SMTPSEND_SERVERS")
        if problem := KINDS[name].missing():
            required = os.environ.get("SMTPSEND_REQUIRE_SERVERS") == "1"
            (pytest.fail if required else pytest.skip)(f"{name}: {problem}")
        folder = self._factory.mktemp(name)
        server = RealServer(name, folder, self.certificates, max_size=max_size)
        self._running[name, max_size] = server
        return server

    def stop(self) -> None:
        for server in self._running.values():
            server.ask_to_stop()  # all at once, since each may take seconds
        for server in self._running.values():
            server.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """The test authority and its certificate for 127.0.0.1 and localhost."""
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def real_servers(certificates, tmp_path_factory):
    """`real_servers.get(name, max_size)`: the servers by name."""
    servers = RealServers(certificates, tmp_path_factory)
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def postfix(real_servers):
    return real_servers.get("postfix")


@pytest.fixture(scope="session")
def dovecot(real_servers):
    return real_servers.get("dovecot")


@pytest.fixture(scope="session")
def authorization(real_servers, certificates, tmp_path_factory):
    """An authorization server, whose tokens `token_dovecot` accepts."""
    if problem := authorization_server.missing():
        required = os.environ.get("SMTPSEND_REQUIRE_SERVERS") == "1"
        (pytest.fail if required else pytest.skip)(problem)
    folder = tmp_path_factory.mktemp("authorization")
    server = authorization_server.AuthorizationServer(folder, certificates, USER)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def token_dovecot(authorization, real_servers, certificates, tmp_path_factory):
    """A Dovecot that verifies the tokens of `authorization`."""
    real_servers.get("dovecot")  # skips the test where Dovecot cannot run
    folder = tmp_path_factory.mktemp("token-dovecot")
    key = authorization.public_key
    server = RealServer("dovecot", folder, certificates, token_key=key)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def chasquid(real_servers):
    return real_servers.get("chasquid")


@pytest.fixture(scope="session")
def smtp_server(real_servers):
    return real_servers.get("smtp-server")


@pytest.fixture(scope="session")
def aiosmtpd_server(real_servers):
    return real_servers.get("aiosmtpd")


@pytest.fixture(scope="session", params=_chosen())
def real_server(request, real_servers):
    """Each of the five servers in turn."""
    return real_servers.get(request.param)


@pytest.fixture(scope="session", params=_chosen())
def small_server(request, real_servers):
    """Each of the five in turn, as a second process that accepts at most 1 MiB."""
    return real_servers.get(request.param, SMALL_SIZE)
