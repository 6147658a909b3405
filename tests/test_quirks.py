"""What is known of a server: learned by one connection, and kept for all."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from smtpsend import ConnectionLost, Method, Policy
from smtpsend._protocol.connection_state import ConnectionState
from smtpsend._protocol.quirks import AfterData, PipelineTrial, Quirks
from smtpsend._wire.connection import Session
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import Track
from smtpsend.errors import Phase, Rejected, Reply


def probed(quirks: Quirks, reply: Reply) -> None:
    """Let a kept connection meet `reply` where it probes the server by EHLO."""

    async def main() -> None:
        async def replied(_: float) -> Reply:
            return reply

        session: Any = object.__new__(Session)
        session.target = SimpleNamespace(quirks=quirks, policy=Policy())
        session.state = ConnectionState()
        session.track = Track(Method(587, "starttls"), 0.0)
        session.deadline = Deadline(5)
        session.channel = SimpleNamespace(command=lambda _: None, reply=replied)
        session._commands = SimpleNamespace(ehlo_name="[127.0.0.1]")
        await session.probe()

    asyncio.run(main())


@pytest.mark.parametrize("known", [False, True])
def test_a_421_unlearns_no_quirk(known: bool) -> None:
    """A 421 to the probe of one connection leaves what another one has found."""
    quirks = Quirks(no_window=known)
    with pytest.raises(ConnectionLost):
        probed(quirks, Reply(421, "4.3.2", "closing"))
    assert quirks.no_window is known


def test_a_refused_probe_is_a_quirk() -> None:
    """A server that refuses a second EHLO shows no end of a window."""
    quirks = Quirks()
    with pytest.raises(ConnectionLost):
        probed(quirks, Reply(502, "5.5.1", "no"))
    assert quirks.no_window


def test_a_trial_that_another_one_began() -> None:
    """One connection finds out; the end of another one does not end its trial."""
    quirks = Quirks()
    first, second = PipelineTrial(quirks), PipelineTrial(quirks)
    first.begin()
    second.begin()
    second.end()
    assert quirks.after_data is AfterData.TRYING
    first.end()
    assert quirks.after_data is AfterData.UNTRIED


def test_lost_commands_are_news_once() -> None:
    """That a server loses commands after the data is news to one connection only."""
    quirks = Quirks()
    trial = PipelineTrial(quirks)
    trial.begin()
    assert trial.lost()
    assert not trial.lost()
    assert quirks.after_data is AfterData.LOST


def test_a_sender_refused_twice() -> None:
    """A sender that is refused twice after the data may be refused for the place."""
    quirks = Quirks(after_data=AfterData.TRYING)
    trial, refused = PipelineTrial(quirks), Rejected("no", phase=Phase.MAIL)
    assert trial.in_doubt(refused)
    assert quirks.after_data is AfterData.TRYING
    assert trial.in_doubt(refused)
    assert quirks.after_data is AfterData.LOST
    assert not trial.in_doubt(None)
