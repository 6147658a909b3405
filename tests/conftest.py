"""Fixtures for all tests."""

import logging
from collections.abc import Iterator

import pytest


pytest_plugins = ["leaks", "servers.fixtures"]


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
