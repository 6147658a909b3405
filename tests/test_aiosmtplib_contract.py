"""What smtpsend/_wire/aiosmtplib_adapter.py leans on in aiosmtplib, without smtpsend.

If a new aiosmtplib breaks one of these, aiosmtplib_adapter.py needs a look.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import aiosmtplib
import pytest
from aiosmtplib import SMTP, SMTPException, SMTPResponse
from aiosmtplib.protocol import SMTPProtocol


EHLO = "host.example greets you\nSIZE 1000\n8BITMIME\nAUTH PLAIN Cram-MD5\nSTARTTLS"


class Transport(asyncio.Transport):
    """A transport that goes nowhere."""

    def is_closing(self) -> bool:
        """It is never closed by itself."""
        return False

    def close(self) -> None:
        """aiosmtplib closes it after a 421."""


class Scripted(SMTPProtocol):
    """A protocol whose writing and reading are ours, as in aiosmtplib_adapter.py."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        super().__init__(asyncio.get_running_loop())
        self.answers = list(answers)
        self.written: list[bytes] = []
        self.connection_made(Transport())

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:
        assert timeout is None
        return SMTPResponse(*self.answers.pop(0))


def attached(*answers: tuple[int, str]) -> tuple[SMTP, Scripted]:
    """An SMTP object that is given a connection, and the protocol under it."""
    smtp = SMTP(
        hostname="host.example",
        local_hostname="client.example",
        start_tls=False,
        timeout=None,
    )
    protocol = Scripted(*answers)
    smtp.protocol, smtp.transport = protocol, Transport()
    return smtp, protocol


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    """The result of a coroutine function."""
    return asyncio.run(main())  # type: ignore[arg-type]


def test_ehlo() -> None:
    """ehlo() is one command with our name, and leaves what was offered."""

    async def main() -> None:
        smtp, protocol = attached((250, EHLO))
        answer = await smtp.ehlo()
        assert (answer.code, answer.message) == (250, EHLO)
        assert protocol.written == [b"EHLO client.example\r\n"]
        for name in ("size", "SIZE", "8bitmime", "starttls", "auth"):
            assert smtp.supports_extension(name)
        assert not smtp.supports_extension("smtputf8")
        assert smtp.esmtp_extensions["size"] == "1000"
        assert [m.upper() for m in smtp.server_auth_methods] == ["PLAIN", "CRAM-MD5"]

    run(main)


@pytest.mark.parametrize(
    ("line", "methods"),
    [
        ("AUTH=PLAIN LOGIN", ["PLAIN", "LOGIN"]),
        ("auth plain", ["PLAIN"]),
        ("AUTH  LOGIN   XOAUTH2 ", ["LOGIN", "XOAUTH2"]),
        ("AUTH", []),
        ("XAUTH PLAIN", []),
    ],
)
def test_auth_methods(line: str, methods: list[str]) -> None:
    """AUTH is read in the old style, too, and in any case."""

    async def main() -> None:
        smtp, _ = attached((250, f"host.example\n{line}"))
        await smtp.ehlo()
        assert [m.upper() for m in smtp.server_auth_methods] == methods

    run(main)


@pytest.mark.parametrize("text", ["", "host", "\n\n", "a\n=\n \nx=y\nSIZE", "SIZE 5"])
def test_odd_offers(text: str) -> None:
    """Whatever the offers look like, reading them raises nothing; line one is none."""

    async def main() -> None:
        smtp, _ = attached((250, text))
        await smtp.ehlo()
        assert smtp.esmtp_extensions.get("size", "").strip() == ""

    run(main)


@pytest.mark.parametrize("code", [421, 500, 502, 554, 354])
def test_no_helo(code: int) -> None:
    """A refused EHLO raises an SMTPException; no HELO is tried behind our back."""

    async def main() -> None:
        smtp, protocol = attached((code, "no"))
        with pytest.raises(SMTPException):
            await smtp.ehlo()
        assert protocol.written == [b"EHLO client.example\r\n"]

    run(main)


def test_execute_command() -> None:
    """execute_command() joins its words, does no more, and gives the answer as it is."""

    async def main() -> None:
        smtp, protocol = attached((334, ""), (535, "no"), (220, "go"))
        assert (await smtp.execute_command(b"AUTH", b"PLAIN", b"AHU=")).code == 334
        assert (await smtp.execute_command(b"")).code == 535
        assert (await smtp.execute_command(b"STARTTLS")).code == 220
        assert protocol.written == [b"AUTH PLAIN AHU=\r\n", b"\r\n", b"STARTTLS\r\n"]

    run(main)


@pytest.mark.parametrize("character", [b"\r", b"\n", b"\r\n", b"\0", b"\x7f", b"\t"])
def test_control_characters(character: bytes) -> None:
    """A control character in a command is a ValueError, and nothing is written."""

    async def main() -> None:
        smtp, protocol = attached((250, "ok"))
        with pytest.raises(ValueError):
            await smtp.execute_command(b"EHLO", b"a" + character + b"b")
        assert protocol.written == []

    run(main)


def test_a_new_object_knows_nothing() -> None:
    """What one object learnt, another does not know: EHLO after TLS begins anew."""

    async def main() -> None:
        smtp, _ = attached((250, EHLO))
        await smtp.ehlo()
        other, _ = attached((250, "host"))
        assert not other.supports_extension("starttls")
        assert not other.server_auth_methods

    run(main)


@pytest.mark.parametrize("error", [ConnectionResetError, TimeoutError, KeyError])
def test_our_errors_pass(error: type[Exception]) -> None:
    """What our reading or writing raises comes out unchanged."""

    async def main() -> None:
        smtp, protocol = attached()

        async def fail(timeout: float | None = None) -> SMTPResponse:
            raise error

        protocol.read_response = fail  # type: ignore[method-assign]
        with pytest.raises(error):
            await smtp.ehlo()
        with pytest.raises(error):
            await smtp.execute_command(b"NOOP")

    run(main)


def test_cancellation() -> None:
    """A cancellation while waiting is not swallowed, and the next command may go out."""

    async def main() -> None:
        smtp, protocol = attached((250, "ok"))
        reading = asyncio.Event()

        async def wait(timeout: float | None = None) -> SMTPResponse:
            reading.set()
            await asyncio.Event().wait()
            raise AssertionError

        protocol.read_response = wait  # type: ignore[method-assign]
        task = asyncio.create_task(smtp.execute_command(b"NOOP"))
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del protocol.read_response  # type: ignore[attr-defined]
        assert (await smtp.execute_command(b"NOOP")).code == 250

    run(main)


def test_shapes() -> None:
    """The methods that we override have the parameters that we count on."""
    read = inspect.signature(SMTPProtocol.read_response).parameters
    assert list(read) == ["self", "timeout"]
    assert list(inspect.signature(SMTPProtocol.write).parameters) == ["self", "data"]
    assert inspect.iscoroutinefunction(SMTPProtocol.read_response)
    assert not inspect.iscoroutinefunction(SMTPProtocol.write)
    assert SMTPResponse(250, "ok") == (250, "ok")
    assert issubclass(aiosmtplib.SMTPException, Exception)
    assert not issubclass(aiosmtplib.SMTPException, OSError)
