"""The pytest plugin: fixtures for the tests of programs that send mail.

Loaded in every pytest run where smtpsend is installed, so nothing else is imported until
a fixture is asked for: no run becomes slower, and what pytest-cov measures misses
this file only. ``-p no:smtpsend`` leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from smtpsend.testing._outbox import Outbox
    from smtpsend.testing.server import LocalServer


@pytest.fixture
def smtpsend_outbox() -> Iterator[Outbox]:
    """An outbox for all that the test sends; nothing reaches the network.

    See `smtpsend.testing.Outbox`: ``messages``, ``fail_next``, ``refuse``, ``clear``.
    """
    from smtpsend.testing import capture

    with capture() as outbox:
        yield outbox


@pytest.fixture
def smtpsend_server() -> Iterator[LocalServer]:
    """A submission server with TLS and login on loopback (extra ``testing``).

    See `smtpsend.testing.server.LocalServer`: ``server()``, ``messages``, ``port()``.
    """
    from smtpsend.testing import local_server

    with local_server() as server:
        yield server
