"""P5: no frame of an error of the Celery task has a password."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from frames import nothing_of
from scripted import Script, ScriptedServer, reply
from sending import RECIPIENT, SENDER, server_for

from smtpsend import SendError, Server, compose
from smtpsend.contrib.celery import mail_task
from smtpsend.errors import ConfigError
from smtpsend.prepared import prepare


SECRET = "s3cret-Pa55word"
MESSAGE = prepare(compose(sender=SENDER, to=RECIPIENT, text="hello")).to_dict()


@pytest.fixture(autouse=True)
def _app() -> Iterator[None]:
    made = Celery("frames", broker="memory://", backend="cache+memory://")
    made.set_current()
    yield
    made.close()


def test_options() -> None:
    """An option that is refused leaves no URL in the frame that refuses it."""
    with pytest.raises(ConfigError) as caught:
        mail_task(f"smtp://u:{SECRET}@h", name="frames.options", acks_late=True)
    nothing_of(SECRET, caught.value)


@pytest.mark.parametrize(
    "server",
    [f"smtp://u:{SECRET}@h/x", lambda: Server.from_url(f"smtp://u:{SECRET}@h/x")],
)
def test_unfit(server: Any) -> None:
    """A URL that cannot be used is in no frame of the task's error."""
    task = mail_task(server, name=f"frames.unfit{id(server)}")
    with pytest.raises(ConfigError) as caught:
        task(MESSAGE)
    nothing_of(SECRET, caught.value)


def test_refused() -> None:
    """Nor is the password that a server refuses."""
    with ScriptedServer(Script({"auth": reply(535, "5.7.8", "no")})) as scripted:
        assert scripted.password == SECRET
        server = server_for(scripted, "implicit")
        task = mail_task(lambda: server, name="frames.refused")
        with pytest.raises(SendError) as caught:
            task(MESSAGE)
    nothing_of(SECRET, caught.value)
