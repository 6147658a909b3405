"""The pytest plugin: fixtures for the tests of programs that send mail.

pytest loads this file in every run where smtpsend is installed. It imports the rest of
the package only when a fixture is used. So no run becomes slower, and pytest-cov, which
starts later, misses the coverage of this file only. ``-p no:smtpsend`` turns it off.
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
    """An outbox for all messages that the test sends; nothing reaches the network.

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
