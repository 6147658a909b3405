"""The server's side of SASL: one generator a mechanism.

It yields challenges and receives responses (both without base64), and returns whether the
user and the password, or the token, are right.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Generator


Exchange = Generator[bytes, bytes, bool]


def plain(user: bytes, password: bytes) -> Exchange:
    """RFC 4616."""
    response = yield b""
    return response.split(b"\0")[1:] == [user, password]


def login(user: bytes, password: bytes) -> Exchange:
    """The common but unspecified LOGIN."""
    given_user = yield b"Username:"
    given_password = yield b"Password:"
    return (given_user, given_password) == (user, password)


def cram_md5(user: bytes, password: bytes) -> Exchange:
    """RFC 2195."""
    challenge = b"<1896.697170952@scripted.example>"
    response = yield challenge
    digest = hmac.new(password, challenge, hashlib.md5).hexdigest().encode()
    return response == user + b" " + digest


def xoauth2(user: bytes, password: bytes) -> Exchange:
    """The XOAUTH2 of Google and Microsoft; a refusal begins with a challenge."""
    response = yield b""
    if response == b"user=" + user + b"\x01auth=Bearer " + password + b"\x01\x01":
        return True
    yield b'{"status":"401","schemes":"bearer","scope":"https://mail.example/"}'
    return False


def oauthbearer(user: bytes, password: bytes) -> Exchange:
    """RFC 7628; a refusal begins with a challenge."""
    response = yield b""
    head, *fields = response.split(b"\x01")
    right_user = head in (b"n,,", b"n,a=" + user.replace(b",", b"=2C") + b",")
    if right_user and b"auth=Bearer " + password in fields:
        return True
    yield b'{"status":"invalid_token"}'
    return False


def scram(
    name: str, binding: tuple[str, bytes] | None = None
) -> Callable[[bytes, bytes], Exchange]:
    """A mechanism of SCRAM, by the package scramp; one that binds needs the binding."""

    def run(user: bytes, password: bytes) -> Exchange:
        import scramp

        mechanism = scramp.ScramMechanism(name)
        info = mechanism.make_auth_info(password.decode())
        known = {user.decode(): info}
        server = mechanism.make_server(lambda who: known[who], channel_binding=binding)
        try:
            server.set_client_first((yield b"").decode())
            server.set_client_final((yield server.get_server_first().encode()).decode())
        except (scramp.ScramException, KeyError):
            return False
        # RFC 4954 section 4: the client responds to the signature with an empty line.
        return (yield server.get_server_final().encode()) == b""

    return run


def external(user: bytes, password: bytes) -> Exchange:
    """RFC 4422 appendix A, for any certificate."""
    response = yield b""
    return response in (b"", user)


MECHANISMS: dict[str, Callable[[bytes, bytes], Exchange]] = {
    "PLAIN": plain,
    "LOGIN": login,
    "CRAM-MD5": cram_md5,
    "XOAUTH2": xoauth2,
    "OAUTHBEARER": oauthbearer,
    "SCRAM-SHA-256": scram("SCRAM-SHA-256"),
    "SCRAM-SHA-1": scram("SCRAM-SHA-1"),
    "EXTERNAL": external,
}
CLIENT_FIRST = {"PLAIN", "XOAUTH2", "OAUTHBEARER", "LOGIN", "EXTERNAL"}
CLIENT_FIRST |= {f"SCRAM-SHA-{n}{plus}" for n in (1, 256) for plus in ("", "-PLUS")}
"""The mechanisms that allow an initial response in the AUTH line."""

Answer = tuple[int, str, str]
"""A reply: code, enhanced status code, text."""


class Dialogue:
    """The replies to one AUTH command and the lines that follow it."""

    def __init__(self, offered: list[str], mechanism: str) -> None:
        self.mechanism = mechanism.upper()
        self._refusal: Answer | None = None
        if self.mechanism not in offered or self.mechanism not in MECHANISMS:
            self._refusal = (504, "5.5.4", "Mechanism not offered")

    def refuse(self, *answer: int | str) -> None:
        """Give this reply to any command and line."""
        self._refusal = answer

    def first(self, initial: bytes, user: bytes, password: bytes) -> Answer:
        """The reply to the AUTH line with its initial response."""
        if self._refusal:
            return self._refusal
        self._exchange = MECHANISMS[self.mechanism](user, password)
        challenge = next(self._exchange)
        if initial and self.mechanism in CLIENT_FIRST:
            return self.answer(b"" if initial == b"=" else initial)
        if initial:
            return self._end(501, "5.7.0", "This mechanism has no initial response")
        return 334, "", base64.b64encode(challenge).decode()

    def answer(self, line: bytes) -> Answer:
        """The reply to a response, which is still in base64."""
        if self._refusal:
            return self._refusal
        if line == b"*":
            return self._end(501, "5.7.0", "Cancelled")
        try:
            challenge = self._exchange.send(base64.b64decode(line, validate=True))
        except binascii.Error:
            return self._end(501, "5.5.2", "That is no base64")
        except StopIteration as end:
            if end.value:
                return self._end(235, "2.7.0", "Authentication successful")
            return self._end(535, "5.7.8", "Authentication credentials invalid")
        return 334, "", base64.b64encode(challenge).decode()

    def _end(self, *answer: int | str) -> Answer:
        self._refusal = answer
        return answer
