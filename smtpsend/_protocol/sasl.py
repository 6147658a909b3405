"""The choice of a SASL mechanism, and the client's side of each (RFC 4954).

A mechanism is a generator. It yields each response of the client, before base64 encoding,
and is sent each challenge of the server, decoded (RFC 4954 section 4); None is one that
was no base64. Its first yield is the initial response; None means that the server sends
the first challenge.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, TypeGuard

from smtpsend._model.server.credentials import Auth, External, OAuth2, Password
from smtpsend._model.shortage import importing
from smtpsend._protocol.failures import Garbage


if TYPE_CHECKING:
    from smtpsend._protocol.scram import Scram

Exchange = Generator[bytes | None, bytes | None, None]


def _plain(username: str, secret: str) -> Exchange:
    # RFC 4616
    yield f"\0{username}\0{secret}".encode()


def _login(username: str, secret: str) -> Exchange:
    # No RFC defines it. The texts of the prompts differ between servers, and some are not
    # even base64; their order is always the same.
    yield None
    yield username.encode()
    yield secret.encode()


def _cram_md5(username: str, secret: str) -> Exchange:
    # RFC 2195
    challenge = yield None
    if challenge is None:
        raise Garbage("a challenge that is not base64")
    digest = hmac.new(secret.encode(), challenge, "md5").hexdigest()
    yield f"{username} {digest}".encode()


def _xoauth2(username: str, secret: str) -> Exchange:
    yield f"user={username}\x01auth=Bearer {secret}\x01\x01".encode()
    # A refusal is a 334 with JSON; the 535 comes after an empty response.
    yield b""


def _oauthbearer(username: str, secret: str) -> Exchange:
    # RFC 7628 section 3.1; "=" and "," are escaped as in RFC 5801.
    name = username.replace("=", "=3D").replace(",", "=2C")
    yield f"n,a={name},\x01auth=Bearer {secret}\x01\x01".encode()
    # Section 3.2.3: a refusal is a 334 with JSON; the client responds with one \x01.
    yield b"\x01"


def _external(username: str, _: str) -> Exchange:
    # RFC 4422 appendix A; an empty name stands for that of the certificate.
    yield username.encode()


_CRAM_MD5, _PLUS = "CRAM-MD5", "-PLUS"
_Mechanism = Callable[[str, str], Exchange] | None  # None: `Scram`

# In order of preference. PLAIN comes first: inside verified TLS it exposes nothing, it
# costs no second round trip, and the server need not store the password readably. SCRAM
# is for servers that offer neither PLAIN nor LOGIN.
_MECHANISMS: dict[type, dict[str, _Mechanism]] = {
    Password: {
        "PLAIN": _plain,
        "LOGIN": _login,
        "SCRAM-SHA-256-PLUS": None,
        "SCRAM-SHA-256": None,
        "SCRAM-SHA-1-PLUS": None,
        "SCRAM-SHA-1": None,
        _CRAM_MD5: _cram_md5,
    },
    OAuth2: {"OAUTHBEARER": _oauthbearer, "XOAUTH2": _xoauth2},
    External: {"EXTERNAL": _external},
}


def shared(auth: Auth, offered: Iterable[str], *, binding: bool = False) -> list[str]:
    """The mechanisms that both sides have, the preferred one first.

    Args:
        auth: the credentials.
        offered: the mechanisms that the server offers.
        binding: whether there is a channel binding, which a -PLUS mechanism needs.
    """
    names = {name.upper() for name in offered}
    return [
        name
        for name in _usable(auth)
        if name in names and (binding or not name.endswith(_PLUS))
    ]


def choose(auth: Auth, offered: Iterable[str], *, binding: bool = False) -> str | None:
    """The first mechanism to try, of those that the server offers; None if none can."""
    return next(iter(shared(auth, offered, binding=binding)), None)


def mechanisms_for(auth: Auth) -> str:
    """The mechanisms that can use `auth`, separated by commas."""
    return ", ".join(name for name in _usable(auth) if not name.endswith(_PLUS))


def lacks_md5(auth: Auth, offered: Iterable[str]) -> bool:
    """Whether the server offers CRAM-MD5 for a password, and this Python has no MD5."""
    names = {name.upper() for name in offered}
    return isinstance(auth, Password) and _CRAM_MD5 in names and not _has_md5()


def _usable(auth: Auth) -> Iterator[str]:
    """The mechanisms that can use `auth` on this machine, the preferred one first."""
    for name in _MECHANISMS[type(auth)]:
        if name != _CRAM_MD5 or _has_md5():
            yield name


def _has_md5() -> bool:
    # FIPS mode can be set while the process runs, so that the answer is not kept. The
    # question comes up only where the server offers nothing better.
    try:
        hmac.new(b"", b"", "md5")
    except ValueError:
        return False
    return True


def exchange(
    mechanism: str,
    auth: Auth,
    secret: str,
    *,
    binding: bytes | None = None,
    offered: Iterable[str] = (),
) -> Exchange | Scram:
    """The client's side of `mechanism`.

    Args:
        mechanism: its name.
        auth: the credentials.
        secret: the password or the token; empty for EXTERNAL.
        binding: the channel binding of type tls-server-end-point; None if there is none.
        offered: the mechanisms that the server offers.
    """
    make = _MECHANISMS[type(auth)][mechanism]
    if make is not None:
        return make(auth.username, secret)
    name = mechanism.removesuffix(_PLUS)
    # Few servers offer nothing better, so few programs need this import.
    with importing():
        from smtpsend._protocol.scram import HASHES, Scram
    return Scram(
        HASHES[name],
        auth.username,
        secret,
        binding=binding,
        plus=mechanism != name,
        offered=name + _PLUS in {offer.upper() for offer in offered},
    )


def is_scram(responses: Exchange | Scram) -> TypeGuard[Scram]:
    """Whether what `exchange` returned is a login by SCRAM."""
    return not isinstance(responses, Generator)
