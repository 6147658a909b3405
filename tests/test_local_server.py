"""`smtpsend.testing.local_server`: a real server that any client can use."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import ssl
import subprocess
import sys

import pytest
from sending import MESSAGE, RECIPIENT, SENDER, WAYS, Send, envelope

from smtpsend import Client, Password, Policy, Server, compose, send_async
from smtpsend.errors import AuthError, CertificateError, RecipientsRefused, Rejected
from smtpsend.testing import capture, local_server


pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("refuse", "method"),
    [((), 0), (("starttls",), 1), (("starttls", "implicit"), 2)],
    ids=["first", "second", "third"],
)
def test_each_port_takes_mail(way: Send, refuse: tuple[str, ...], method: int) -> None:
    """All three ports verify, log in and store; a refused one is fallen back from."""
    with local_server(refuse=refuse) as local:
        server = local.server()
        receipt = way(MESSAGE, server, **envelope())
        assert receipt.method == server.policy.methods[method]
        assert receipt.tls
    (stored,) = local.messages
    assert (stored.sender, stored.recipients) == (SENDER, (RECIPIENT,))
    assert stored.content == MESSAGE
    assert stored.message["Subject"] == "hello"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"auth": Password("alice@example.test", "wrong")}, AuthError),
        ({"auth": None}, Rejected),
        ({"cafile": None}, CertificateError),
    ],
)
def test_it_insists_on_tls_and_login(changes: dict, error: type[Exception]) -> None:
    """A wrong or missing login is refused by the server, its CA unknown to others."""
    with local_server() as local:
        good = local.server()
        options = {"auth": good.auth, "cafile": good.cafile, **changes}
        server = Server("127.0.0.1", policy=good.policy, **options)
        with pytest.raises(error):
            asyncio.run(send_async(MESSAGE, server, **envelope()))
    assert local.messages == []


@pytest.mark.parametrize(
    ("sender", "recipient", "error", "temporary"),
    [
        (SENDER, "unknown@example.net", RecipientsRefused, False),
        (SENDER, "later@example.net", RecipientsRefused, True),
        ("banned@example.org", RECIPIENT, Rejected, False),
    ],
)
def test_names_that_are_refused(
    sender: str, recipient: str, error: type[Rejected], temporary: bool
) -> None:
    """Names ask for refusals, so that a program can be tested with a real one."""
    with local_server() as local, Client(local.server()) as client:
        with pytest.raises(error) as caught:
            client.send(MESSAGE, sender=sender, recipients=[recipient])
        assert caught.value.temporary is temporary


def test_a_size_limit() -> None:
    """A message above the size limit is refused before it is sent."""
    with local_server(max_size=1000) as local, Client(local.server()) as client:
        with pytest.raises(Rejected, match="1,000"):
            client.send(compose(sender=SENDER, to=RECIPIENT, text="x" * 1000))


@pytest.mark.parametrize("port", ["starttls", "implicit"])
def test_any_client_can_use_it(port: str) -> None:
    """What the server tells of itself is enough for smtplib."""
    with local_server() as local:
        context = ssl.create_default_context(cafile=local.cafile)
        if port == "implicit":
            client = smtplib.SMTP_SSL(
                "localhost", local.port("implicit"), context=context
            )
        else:
            client = smtplib.SMTP("localhost", local.port("starttls"))
        with client:
            if port == "starttls":
                client.starttls(context=context)
            client.login(local.username, local.password)
            client.sendmail(SENDER, [RECIPIENT], MESSAGE)
        assert [stored.recipients for stored in local.messages] == [(RECIPIENT,)]


def test_two_servers_do_not_mix() -> None:
    """Servers run side by side, each with ports, a CA and messages of its own."""
    with local_server() as one, local_server() as two:
        policy = Policy(methods=one.server().policy.methods)
        Client(two.server()).close()
        with Client(one.server(policy=policy)) as client:
            client.send(MESSAGE, **envelope())
    assert (len(one.messages), len(two.messages)) == (1, 0)


def test_a_capture_comes_first() -> None:
    """Under a capture nothing reaches a server on this machine either."""
    with local_server() as local, capture() as outbox:
        with Client(local.server()) as client:
            client.check()
            client.send(MESSAGE, **envelope())
    assert (len(outbox), local.messages) == (1, [])


def test_without_its_extra() -> None:
    """Without the extra the error says what to install, and `capture` works."""
    code = """
import sys
sys.modules["aiosmtpd"] = sys.modules["trustme"] = None
import smtpsend.testing
with smtpsend.testing.capture() as outbox:
    pass
try:
    smtpsend.testing.local_server()
except ImportError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "local_server() needs: pip install 'smtpsend[testing]'\n"


def test_it_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    """The log of a test has no warnings about how the server was set up."""
    with local_server() as local:
        for method in local.server().policy.methods:
            server = local.server(policy=Policy(methods=(method,)))
            asyncio.run(send_async(MESSAGE, server, **envelope()))
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    assert not logging.getLogger("mail.log").filters
