"""Fixtures for all tests."""

import logging
import os
import signal
from collections.abc import Iterator

import pytest
from sending import forget

from smtpsend._client.background import interrupts
from smtpsend._client.diagnosis import probe
from smtpsend._wire import handshake


pytest_plugins = ["leaks", "scheduling", "servers.fixtures", "servers.namespace"]

# What a developer's machine may set changes what the programs do that tests start, and
# could hide a fault: with PYTHONUNBUFFERED no output is left to fail when a program ends.
_KEPT = {
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONPYCACHEPREFIX",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONNOUSERSITE",
    # These choose an interpreter, and are set to try another one.
    "PYTHON_GIL",
    "PYTHON_JIT",
}
_TERMINAL = {"NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"}
for _name in {*os.environ} - _KEPT:
    if _name.startswith(("PYTHON", "SMTP_")) or _name in _TERMINAL:
        del os.environ[_name]

# It is for this run of pytest, and not for those that tests start.
os.environ.pop("PYTEST_ADDOPTS", None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start what runs in the background (`pytest &`) without Ctrl-C, and the
    # programs that tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The handler of pytest-timeout, which raises only in a test that has failed by then, does
# not keep the main thread from running the event loop, as it does in most programs.
interrupts.SIGNALS = tuple(n for n in interrupts.SIGNALS if n != signal.SIGALRM)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "scan: repeats one fault at many places; left out by `nox -s quick`"
    )


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    forget()


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    """The command line sets loggers up for its process; a test must not see another's."""
    names = ("smtpsend", "smtpsend.wire", "mail.log")
    loggers = [logging.getLogger(name) for name in names]
    before = [(x.level, x.disabled, x.propagate, x.handlers[:]) for x in loggers]
    yield
    for log, (level, disabled, propagate, handlers) in zip(loggers, before, strict=True):
        log.setLevel(level)
        log.disabled, log.propagate, log.handlers[:] = disabled, propagate, handlers


@pytest.fixture
def probed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port where one side waits for the other is asked sooner what it speaks."""
    monkeypatch.setattr(handshake, "_SILENCE", 0.2)
    monkeypatch.setattr(probe, "_SECOND_TIMEOUT", 0.5)
