"""Sockets are closed as sockets, and a machine without descriptors is no dead end."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import stat
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from leaks import eventually, ids, numbered, one_port, sockets
from programs import ran
from scripted import OFFERS, Script, ScriptedServer, close, reply
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import AsyncClient, OAuth2, Receipt, Server
from smtpsend._client.background import portal
from smtpsend._model.shortage import shortage
from smtpsend._wire import dial, look_up
from smtpsend._wire.callers import threads
from smtpsend.errors import AuthError, ConnectError, Phase


@pytest.fixture
def _as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, `os.close` accepts no socket: a socket's handle is no descriptor."""
    close = os.close

    def picky(fd: int) -> None:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError(9, "Bad file descriptor")
        close(fd)

    monkeypatch.setattr(os, "close", picky)


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.usefixtures("_as_on_windows")
def test_second_loop() -> None:
    """An `AsyncClient` of one event loop sends in the next, and closes in a third."""
    had = sockets()
    with ScriptedServer() as scripted:
        client = AsyncClient(server_for(scripted, "implicit"))

        async def send(n: int) -> Receipt:
            return await client.send(numbered(n), **envelope())

        asyncio.run(send(1))
        asyncio.run(send(2))
        asyncio.run(client.aclose())
        gc.collect()
    assert ids(scripted) == [1, 2]
    eventually(lambda: not sockets() - had, "a socket is left")


# A process that has no descriptor left, or few; and what it does then.

FULL = """
import importlib, resource
import smtpsend.check

def leave(count):
    kept = []
    try:
        while True:
            kept.append(os.open("/dev/null", 0))
    except OSError:
        pass
    for _ in range(count):
        os.close(kept.pop())
    return kept

def tried(call):
    try:
        result = call()
    except SendError as error:
        assert error.hint, error
        assert not error.__cause__ and error.__suppress_context__, error
        result = error
    if isinstance(result, SendError):
        assert type(result) is ConnectError and result.temporary, repr(result)
        return "temporary"
    return "done"

def outcome(call):
    try:
        (one,) = call()
    except SendError as error:
        assert not taken
        raise
    return one.error or one.receipt

taken = []

def messages():
    taken.append(1)
    yield batch(1)[0]

def checked():
    report = smtpsend.check.check(where)
    return report.error or report

def over(client):
    with client:
        return client.send(numbered(1), **to)

async def over_async(client):
    async with client:
        return await client.send(numbered(1), **to)

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
"""

CALLS = {
    "send": "send(numbered(1), where, **to)",
    "Client.send": "over(Client(where))",
    "Client.check": "Client(where).check()",
    "send_many": "outcome(lambda: list(Client(where).send_many(messages())))",
    "check": "checked()",
    "send_async": "runner.run(send_async(numbered(1), where, **to))",
    "AsyncClient": "runner.run(over_async(AsyncClient(where)))",
}


# How many addresses a name has matters where all calls connect in the same way.
COUNTED = [(how, False) for how in CALLS] + [("send", True), ("AsyncClient", True)]


@pytest.mark.parametrize(("how", "many"), COUNTED)
def test_few_descriptors(how: str, many: bool) -> None:
    """Without any, and with more of them one by one: typed, temporary, and in silence.

    What a call cannot open at first is another thing for each number: the event loop,
    the CA file, the name look-up, the socket.
    """
    pytest.importorskip("resource")
    program = f"""
if {many}:
    found = socket.getaddrinfo
    socket.getaddrinfo = lambda *a, **k: found(*a, **k) + [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0))
    ]
runner = asyncio.Runner()
runner.get_loop()
seen = []
for count in range(9):
    kept = leave(count)
    seen.append(tried(lambda: {CALLS[how]}))
    for fd in kept:
        os.close(fd)
assert seen[0] == "temporary", seen
kept = leave(40)
say(seen[-1], tried(lambda: {CALLS[how]}))
for fd in kept:
    os.close(fd)
runner.close()
"""
    with one_port() as scripted:
        assert ran(FULL + program, scripted) == ["done done"]


WITHOUT_AUTH = tuple(offer for offer in OFFERS if not offer.startswith("AUTH"))

FILES = {
    "attachment": "compose(sender='a@x.org', to='b@x.org', text='', attachments=[name])",
    "inline": "compose(sender='a@x.org', to='b@x.org', html='<p>', inline={'i': name})",
    "password": "Server.from_env({'SMTP_HOST': 'h', 'SMTP_USERNAME': 'u', "
    "'SMTP_PASSWORD_FILE': name})",
    "cafile": "send(numbered(1), Server('127.0.0.1', cafile=name), **to)",
    "certifi": "send(numbered(1), Server('127.0.0.1'), **to)",
    "provider": "Server.at('ses', region='eu-west-1')",
    "proxy": "Server('h', proxy='http://127.0.0.1:3128')",
    "servers": "Client(['a', 'b'])",
}


@pytest.mark.parametrize("which", FILES)
def test_files_without_descriptors(which: str, tmp_path: Path) -> None:
    """A file that cannot be read for want of a descriptor: no verdict on the file."""
    pytest.importorskip("resource")
    file = tmp_path / "file.pem"
    file.write_text("s3cret-in-the-file\n")
    program = f"""
import mimetypes
from smtpsend._wire.dial import OPEN
mimetypes.init()
name = {str(file)!r}
send(numbered(1), where, **to)
while any(sock.fileno() >= 0 for sock in OPEN):
    threading.Event().wait(0.005)
kept = leave(0)
try:
    {FILES[which]}
except SendError as error:
    found = error
for fd in kept:
    os.close(fd)
assert "s3cret" not in str(found)
say(type(found).__name__, found.temporary, "descriptor" in found.message)
"""
    with one_port() as scripted:
        assert ran(FULL + program, scripted) == ["ConnectError True True"]


FAILING = {
    "CertificateError": Script(certificate="wrong_host"),
    "AuthError": Script({"auth": reply(535, "5.7.8", "no")}),
    "ConnectError: a module": Script(offers=(*WITHOUT_AUTH, "AUTH SCRAM-SHA-1")),
    "AuthError: mechanism": Script(offers=(*WITHOUT_AUTH, "AUTH XOAUTH2")),
    "Rejected": Script({"mail": reply(550, "5.7.1", "no")}),
    "RecipientsRefused": Script({"rcpt": reply(550, "5.1.1", "no")}),
    "DeliveryUnknown": Script({"final": close()}),
}


@pytest.mark.parametrize("kind", FAILING)
def test_failure_without_descriptors(kind: str) -> None:
    """What only a failed send imports: without it the error is the same, with a hint."""
    pytest.importorskip("resource")
    program = """
import dataclasses, resource, ssl
logging.disable()
kept = []
late = [f"smtpsend._model.diagnosis.{name}" for name in (
    "hints_by_event", "login_remedies", "tls_remedies")]
late.append("smtpsend._protocol.scram")
for name in late:  # the line that imports all public names has imported them
    sys.modules.pop(name, None)

class Context(ssl.SSLContext):
    def wrap_bio(self, *arguments, **options):
        made = super().wrap_bio(*arguments, **options)
        try:
            while True:
                kept.append(os.open("/dev/null", 0))
        except OSError:
            return made

context = Context(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(config["ca"])
where = dataclasses.replace(where, cafile=None, ssl_context=context)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    send(numbered(1), where, **to)
except SendError as caught:
    error = caught
for fd in kept:
    os.close(fd)
assert kept and error.hint, error
say(type(error).__name__)
"""
    with ScriptedServer(FAILING[kind]) as scripted:
        assert ran(program, scripted) == [kind.partition(":")[0]]


@pytest.mark.parametrize("code", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
@pytest.mark.parametrize("send", WAYS)
def test_no_socket(code: str, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that cannot be made is temporary, and not blamed on a firewall."""
    number = getattr(errno, code)

    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with ScriptedServer() as scripted:
        server = server_for(scripted)
        portal.run(_nothing)  # its event loop has its sockets
        monkeypatch.setattr(dial, "_connect", full)
        with pytest.raises(ConnectError, match=r"no .*left") as caught:
            send(MESSAGE, server, **envelope())
    assert caught.value.temporary
    assert "firewall" not in caught.value.hint
    assert not scripted.connections


async def _nothing() -> None:
    pass


@pytest.mark.parametrize("send", WAYS)
def test_unknown_names(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a descriptor, each name is unknown to the resolver: no verdict on it."""

    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    portal.run(_nothing)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    full = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr(look_up, "_no_descriptor", lambda: shortage(full))
    with pytest.raises(ConnectError, match="no file descriptor left") as caught:
        send(MESSAGE, Server("mail.example.org"), **envelope())
    assert (caught.value.phase, caught.value.temporary) == (Phase.RESOLVE, True)


class _NoThread(threading.Thread):
    """What `Thread` is where the system has no room for a further one."""

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("send", WAYS)
def test_no_thread_for_a_look_up(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is not looked up in the event loop, which would stand still meanwhile."""
    asked: list[object] = []
    portal.run(_nothing)
    monkeypatch.setattr(threads, "threading", SimpleNamespace(Thread=_NoThread))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: asked.append(1))
    with pytest.raises(ConnectError, match="no further thread") as caught:
        send(MESSAGE, Server("mail.example.org"), **envelope())
    assert (caught.value.phase, caught.value.temporary) == (Phase.RESOLVE, True)
    assert not asked


@pytest.mark.parametrize("send", WAYS)
def test_no_thread_for_a_token(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token function that cannot be called yet is a temporary AuthError."""
    portal.run(_nothing)
    auth = OAuth2("u", lambda: pytest.fail("called in the event loop"))
    with ScriptedServer(Script(offers=("SIZE", "AUTH XOAUTH2"))) as scripted:
        server = server_for(scripted, "implicit", auth=auth)
        monkeypatch.setattr(threads, "threading", SimpleNamespace(Thread=_NoThread))
        with pytest.raises(AuthError, match="no further thread") as caught:
            send(MESSAGE, server, **envelope())
    assert caught.value.temporary


def test_no_background_thread() -> None:
    """The first send of a process that can start no thread; the next one works."""
    program = """
real = threading.Thread.start
def start(thread):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
for call in (
    lambda: send(numbered(1), where, **to),
    lambda: Client(where).send(numbered(1), **to),
    lambda: Client(where).check(),
    lambda: list(Client(where).send_many(batch(1))),
):
    try:
        call()
    except ConnectError as error:
        say(error.temporary, error.message, error.message_id)
with Client(where):
    pass
threading.Thread.start = real
say(send(numbered(2), where, **to).reply.code)
"""
    text = "True no connection: this machine can start no further thread"
    with one_port() as scripted:
        out = ran(program, scripted)
    ids_ = ["<1@example.org>", "<1@example.org>", None, None]
    assert out == [*(f"{text} {one}" for one in ids_), "250"]
    assert ids(scripted) == [2]
