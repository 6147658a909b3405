"""SCRAM: a login that proves both sides know the password (RFC 5802, RFC 7677).

The password itself is not sent, and the server proves by its signature that it knows a
hash of it. With a -PLUS mechanism, the proof is bound to the certificate of the server.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Generator

from smtpsend._protocol.failures import Garbage, WrongSignature


HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
"""The hash function of each mechanism, by its name without -PLUS."""

# More would block a core for seconds; servers use 4096 to some 100,000.
_MOST_ITERATIONS = 1_000_000
_BINDING = "tls-server-end-point"


class Scram:
    """One login by SCRAM. It is used like the generators of sasl.py.

    Args:
        hash_name: the hash function, by its name in hashlib.
        username: the user name.
        password: the password.
        binding: the channel binding of type tls-server-end-point (RFC 5929 section 4), if
            the client can compute it.
        plus: whether the mechanism is a -PLUS, which sends the binding.
        offered: whether the server offers a -PLUS.
        nonce: makes the client's part of the nonce.

    Attributes:
        proof_sent: whether the proof of the password was sent.
        verified: whether the signature of the server was received, and is right.
    """

    def __init__(
        self,
        hash_name: str,
        username: str,
        password: str,
        *,
        binding: bytes | None = None,
        plus: bool = False,
        offered: bool = False,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(24),
    ) -> None:
        self.proof_sent = self.verified = False
        self._hash = hash_name
        self._binding = binding if plus and binding is not None else b""
        # RFC 5802 section 6: "y" says that the client could bind, and that the server
        # offers no -PLUS; if it does, somebody in between has removed the offer.
        flag = f"p={_BINDING}" if plus else "n" if offered or binding is None else "y"
        self._header = f"{flag},,".encode()
        self._talk = self._exchange(username, password, nonce())

    def __iter__(self) -> Scram:
        return self

    def __next__(self) -> bytes | None:
        return next(self._talk)

    def send(self, challenge: bytes | None) -> bytes | None:
        """Return the response to a challenge; None is one that was no base64."""
        return self._talk.send(challenge)

    def _exchange(
        self, username: str, password: str, nonce: str
    ) -> Generator[bytes | None, bytes | None, None]:
        name = saslprep(username).replace("=", "=3D").replace(",", "=2C")
        first = f"n={name},r={nonce}".encode()
        challenge = yield self._header + first
        server_nonce, salt, iterations = _server_first(challenge, nonce.encode())
        bound = b64encode(self._header + self._binding)
        final = b"c=" + bound + b",r=" + server_nonce
        message = b",".join((first, challenge or b"", final))
        salted = hashlib.pbkdf2_hmac(
            self._hash, saslprep(password).encode(), salt, iterations
        )
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self._hash, client_key).digest()
        signature = self._hmac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.proof_sent = True
        challenge = yield final + b",p=" + b64encode(proof)
        attributes = _attributes(challenge)
        if b"e" in attributes:
            yield b""  # the refusal follows
            return
        wanted = self._hmac(self._hmac(salted, b"Server Key"), message)
        if not hmac.compare_digest(_decoded(attributes.get(b"v")), wanted):
            raise WrongSignature
        self.verified = True
        # RFC 4954 section 4: the 235 has no room for the signature, so it is a challenge.
        yield b""

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, self._hash)


def _server_first(challenge: bytes | None, nonce: bytes) -> tuple[bytes, bytes, int]:
    """The nonce, the salt and the iteration count in the server's first message.

    Raises:
        Garbage: it has none of them, or the nonce is another one than the client's.
    """
    attributes = _attributes(challenge)
    server_nonce = attributes.get(b"r", b"")
    if not server_nonce.startswith(nonce) or server_nonce == nonce:
        raise Garbage("a challenge of SCRAM without the nonce of the client")
    if b"m" in attributes:
        raise Garbage("a challenge of SCRAM with an extension that is not known")
    count = attributes.get(b"i", b"")
    if not count.isdigit() or not 1 <= len(count) <= 9 or not int(count):
        raise Garbage("a challenge of SCRAM without an iteration count")
    if int(count) > _MOST_ITERATIONS:
        raise Garbage(f"a challenge of SCRAM with {int(count)} iterations")
    return server_nonce, _decoded(attributes.get(b"s")), int(count)


def _attributes(challenge: bytes | None) -> dict[bytes, bytes]:
    if challenge is None:
        raise Garbage("a challenge that is not base64")
    pairs = (part.partition(b"=") for part in challenge.split(b","))
    return {name: value for name, _, value in pairs}


def _decoded(value: bytes | None) -> bytes:
    try:
        return b64decode(value or b"", validate=True)
    except Base64Error:
        raise Garbage("a challenge of SCRAM that is not well formed") from None


def saslprep(text: str) -> str:
    """Prepare a user name or password (RFC 4013), so that its encoding is the only one.

    A text that the RFC prohibits is returned as it is: a server that prepares nothing may
    have stored it so.
    """
    if text.isascii():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c
        for c in text
        if not stringprep.in_table_b1(c)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared or any(found(c) for c in prepared for found in _PROHIBITED):
        return text
    left_to_right = any(map(stringprep.in_table_d2, prepared))
    if any(map(stringprep.in_table_d1, prepared)) and (
        left_to_right
        or not stringprep.in_table_d1(prepared[0])
        or not stringprep.in_table_d1(prepared[-1])
    ):
        return text
    return prepared


# RFC 4013 section 2.3.
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
