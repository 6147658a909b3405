"""The servers behave as the other tests expect, which is tested here with smtplib."""

import contextlib
import email.message
import email.policy
import email.utils
import os
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from servers import KINDS, RealServer, strip_trace


PORTS = ("starttls", "implicit", "starttls2")


@contextlib.contextmanager
def connect(server, method="starttls"):
    context = ssl.create_default_context(cafile=server.ca)
    port = getattr(server, method)
    if method == "implicit":
        session = smtplib.SMTP_SSL(server.host, port, context=context, timeout=30)
    else:
        session = smtplib.SMTP(server.host, port, timeout=30)
    with session:
        if method != "implicit":
            session.starttls(context=context)
        yield session


@contextlib.contextmanager
def logged_in(server, method="starttls"):
    with connect(server, method) as session:
        session.login(server.user, server.password)
        yield session


def compose(server, text="Grüße\n.\n..\n.dot\n", size=0):
    message = email.message.EmailMessage(email.policy.SMTP)
    message["From"] = server.user
    message["To"] = server.address("bob")
    message["Subject"] = "Grüße aus Köln"
    message["Message-ID"] = email.utils.make_msgid(domain=server.domain)
    message.set_content(text)
    if size:
        message.add_attachment(os.urandom(size), "application", "octet-stream")
    return message["Message-ID"], message.as_bytes()


@pytest.mark.parametrize("method", PORTS)
def test_each_port_delivers_byte_for_byte(real_server, method):
    message_id, content = compose(real_server)
    recipients = [real_server.address("bob"), real_server.address("carol")]
    with logged_in(real_server, method) as session:
        assert session.sendmail(real_server.user, recipients, content) == {}
    # chasquid delivers once for each recipient.
    count = 2 if real_server.name == "chasquid" else 1
    found = real_server.delivered(message_id, count, settle=0.1)
    assert len(found) == count
    assert sorted(to for one in found for to in one.recipients) == recipients
    for one in found:
        assert one.sender == real_server.user
        assert one.difference(content) is None
        assert one.message == content
    assert found[0] in real_server.messages()


@pytest.mark.parametrize("method", PORTS)
def test_capabilities(real_server, method):
    with connect(real_server, method) as session:
        session.ehlo()
        offered = {name.upper() for name in session.esmtp_features}
        mechanisms = set(session.esmtp_features["auth"].upper().split())
    known = {"PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN"}
    known |= {"ENHANCEDSTATUSCODES", "SIZE", "AUTH"}
    assert offered & known == real_server.capabilities
    assert mechanisms == real_server.mechanisms
    assert int(session.esmtp_features["size"]) == real_server.max_size


def test_needs_a_login(real_server):
    message_id, content = compose(real_server)
    with (
        connect(real_server) as session,
        pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused)),
    ):
        session.sendmail(real_server.user, [real_server.address("bob")], content)
    assert real_server.delivered(message_id, 0) == []


def test_wrong_password(real_server):
    with (
        connect(real_server) as session,
        pytest.raises(smtplib.SMTPAuthenticationError) as caught,
    ):
        session.login(real_server.user, "wrong")
    assert caught.value.smtp_code == 535


def test_unknown_recipient(real_server):
    message_id, content = compose(real_server)
    unknown = real_server.address("unknown-1")
    with logged_in(real_server) as session:
        refused = session.sendmail(
            real_server.user, [unknown, real_server.address("bob")], content
        )
    assert {name: code for name, (code, _) in refused.items()} == {unknown: 550}
    (one,) = real_server.delivered(message_id)
    assert one.recipients == (real_server.address("bob"),)


def test_deferred_recipient(real_server):
    if real_server.name == "chasquid":
        pytest.skip("chasquid has no way to defer one recipient")
    message_id, content = compose(real_server)
    later = real_server.address("later-1")
    with (
        logged_in(real_server) as session,
        pytest.raises(smtplib.SMTPRecipientsRefused) as caught,
    ):
        session.sendmail(real_server.user, [later], content)
    assert caught.value.recipients[later][0] == 450
    assert real_server.delivered(message_id, 0) == []


def test_banned_sender(real_server):
    message_id, content = compose(real_server)
    at_mail = real_server.refuses_sender_at == "MAIL"
    error = smtplib.SMTPSenderRefused if at_mail else smtplib.SMTPDataError
    with logged_in(real_server) as session, pytest.raises(error) as caught:
        session.sendmail(
            real_server.address("banned"), [real_server.address("bob")], content
        )
    assert 500 <= caught.value.smtp_code < 600
    if at_mail and "ENHANCEDSTATUSCODES" in real_server.capabilities:
        assert caught.value.smtp_error.startswith(b"5.")
    assert real_server.delivered(message_id, 0) == []


def test_null_sender(real_server):
    message_id, content = compose(real_server)
    with logged_in(real_server) as session:
        session.sendmail("", [real_server.address("bob")], content)
    (one,) = real_server.delivered(message_id)
    assert one.sender == ""


def test_large_message(real_server):
    message_id, content = compose(real_server, size=3_000_000)
    with logged_in(real_server) as session:
        session.sendmail(real_server.user, [real_server.address("bob")], content)
    (one,) = real_server.delivered(message_id, timeout=30)
    assert one.difference(content) is None
    assert "byte " in one.difference(content[:-100])


def test_small_limit(small_server):
    _, content = compose(small_server, size=2_000_000)
    with (
        logged_in(small_server) as session,
        pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPDataError)) as caught,
    ):
        session.sendmail(small_server.user, [small_server.address("bob")], content)
    assert caught.value.smtp_code == 552
    assert small_server.messages(0) == []


def test_strip_trace():
    stored = b"Received: from a\n\tby b\nreturn-path: <>\nSubject: x\nReceived: y\n\nz"
    assert strip_trace(stored) == b"Subject: x\r\nReceived: y\r\n\r\nz\r\n"


ORPHAN = """\
import pathlib, sys, time
from servers import Certificates, RealServer
name, folder = sys.argv[1:]
folder = pathlib.Path(folder)
server = RealServer(name, folder, Certificates.make(folder))
print(server._process.pid, flush=True)
time.sleep(60)
"""


def running_below(work: str) -> list[str]:
    """The processes whose command line or working directory names a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if work in told or os.readlink(entry / "cwd").startswith(work):
                found.append(told)
    return found


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize(
    ("name", "victim"),
    [(name, "owner") for name in KINDS]
    + [(name, "supervisor") for name in KINDS if name != "postfix"],
)
def test_nothing_survives_a_kill(real_servers, tmp_path, name, victim):
    real_servers.get(name)  # skips where it can't run
    # A folder for the server of this test only; its unprivileged processes must enter it.
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    owner = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, name, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        env={**os.environ, "SMTPSEND_SERVERS_TMP": str(place)},
    )
    with owner, owner.stdout:
        supervisor = int(owner.stdout.readline())
        (work,) = place.glob("smtpsend-server-*")
        marks = (str(work), str(tmp_path))
        assert running_below(str(work)) or name == "aiosmtpd"
        if victim == "owner":
            owner.kill()
        else:
            os.kill(supervisor, signal.SIGKILL)
            owner.terminate()
    end = time.monotonic() + 10
    while (left := [p for m in marks for p in running_below(m)]) and (
        time.monotonic() < end
    ):
        time.sleep(0.05)
    assert left == []
    assert work.exists() == (victim == "supervisor")
    shutil.rmtree(place, ignore_errors=True)


def test_a_server_that_cannot_start_says_why(real_servers, certificates, tmp_path):
    taken = real_servers.get("aiosmtpd").ports
    with pytest.raises(RuntimeError, match="address already in use"):
        RealServer("aiosmtpd", tmp_path, certificates, ports=taken)
