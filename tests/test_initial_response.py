"""The initial response of AUTH is left out where its line would be too long."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from scripted import Action, Script, ScriptedServer, close, reply, say
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import OAuth2, Password, SendError
from smtpsend.errors import AuthError, Event, Phase


USER = "user@example.org"
KINDS = {
    "PLAIN": Password,
    "SCRAM-SHA-256": Password,
    "XOAUTH2": OAuth2,
    "OAUTHBEARER": OAuth2,
}


def offering(mechanisms: str, on: dict[str, Action] | None = None) -> Script:
    """A server that offers these mechanisms."""
    return Script(on or {}, offers=("ENHANCEDSTATUSCODES", f"AUTH {mechanisms}"))


def auths(scripted: ScriptedServer) -> list[bytes]:
    """The AUTH commands, over all connections."""
    lines = [line for c in scripted.connections for _, line in c.commands]
    return [line for line in lines if line.startswith(b"AUTH")]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("send", WAYS)
def test_long_secrets(name: str, send: Send) -> None:
    """No AUTH line has more than 512 octets, and each mechanism logs in in any case."""
    secret, user = "s3cret-" * 430, USER
    if name.startswith("SCRAM"):
        user = "u" * 400  # the name is what makes its first message long
    with ScriptedServer(offering(name), user=user, password=secret) as scripted:
        server = server_for(scripted, "implicit", auth=KINDS[name](user, secret))
        send(MESSAGE, server, **envelope())
    assert auths(scripted) == [f"AUTH {name}".encode()]
    assert len(scripted.accepted) == 1
    scripted.assert_clean()


@pytest.mark.parametrize(("over", "with_response"), [(0, True), (1, False)])
@pytest.mark.parametrize("name", ["PLAIN", "XOAUTH2"])
def test_the_limit(name: str, over: int, with_response: bool) -> None:
    """A line of exactly 512 octets with its CRLF has the response; a longer one has not.

    Base64 grows by four octets, so the user name is as long as gives the longest line.
    """
    room = (512 - len(f"AUTH {name} \r\n")) // 4 * 3
    frame = len(f"\0{USER}\0") if name == "PLAIN" else len(f"user={USER}\x01auth=Bearer ")
    end = 0 if name == "PLAIN" else 2
    secret = "s" * (room - frame - end + over)
    with ScriptedServer(offering(name), password=secret) as scripted:
        server = server_for(scripted, "implicit", auth=KINDS[name](USER, secret))
        WAYS[0](MESSAGE, server, **envelope())
    (line,) = auths(scripted)
    assert (len(line.split()) == 3) is with_response
    assert len(line) + 2 <= 512


@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize("prompt", [b"334\r\n", b"334 go on!\r\n", b"334 e30=\r\n"])
def test_prompts(prompt: bytes, send: Send) -> None:
    """The challenge that asks for the initial response may have any text."""
    secret = "t0ken-" * 100
    script = offering("XOAUTH2", {"auth": say(prompt)})
    with ScriptedServer(script, password=secret) as scripted:
        server = server_for(scripted, "implicit", auth=OAuth2(USER, secret))
        send(MESSAGE, server, **envelope())
    first = base64.b64decode(scripted.connections[0].auth_lines[0])
    assert first == f"user={USER}\x01auth=Bearer {secret}\x01\x01".encode()


@pytest.mark.parametrize("send", WAYS)
def test_refused_without_a_prompt(send: Send) -> None:
    """A server that refuses AUTH without its response is told nothing of the secret."""
    script = offering("PLAIN", {"auth": reply(535, "5.7.8", "no")})
    with ScriptedServer(script) as scripted, pytest.raises(AuthError) as caught:
        send(
            MESSAGE,
            server_for(scripted, auth=Password(USER, "s3cret-" * 99)),
            **envelope(),
        )
    assert caught.value.event is Event.AUTH_REFUSED
    assert not scripted.connections[0].auth_lines


JSON = b'334 {"status":"401"}\r\n'


@pytest.mark.parametrize("name", ["XOAUTH2", "OAUTHBEARER"])
def test_reasons_in_the_clear(name: str) -> None:
    """A reason for the refusal of a token need not be base64 to be answered."""
    script = offering(name, {"auth": say(JSON)})
    with ScriptedServer(script) as scripted, pytest.raises(AuthError) as caught:
        WAYS[0](MESSAGE, server_for(scripted, auth=OAuth2(USER, "wrong")), **envelope())
    assert caught.value.reply is not None
    assert caught.value.reply.code == 535


# 504: the server does not have the mechanism, and has looked at no password.

UNKNOWN = reply(504, "5.7.4", "Unrecognized authentication type")


@pytest.mark.parametrize(
    ("offers", "on", "used"),
    [
        ("PLAIN LOGIN", {"auth:1": UNKNOWN}, "LOGIN"),
        ("PLAIN LOGIN CRAM-MD5", {"auth:1": UNKNOWN, "auth:2": UNKNOWN}, "CRAM-MD5"),
        ("PLAIN SCRAM-SHA-256", {"auth:1": UNKNOWN}, "SCRAM-SHA-256"),
    ],
)
@pytest.mark.parametrize("send", WAYS)
def test_next_mechanism(offers: str, on: Any, used: str, send: Send) -> None:
    """After a 504 to AUTH the next mechanism is tried on the same connection."""
    with ScriptedServer(offering(offers, on)) as scripted:
        send(MESSAGE, server_for(scripted), **envelope())
    assert len(scripted.connections) == 1
    assert auths(scripted)[-1].split()[1] == used.encode()
    assert len(scripted.accepted) == 1


@pytest.mark.parametrize("send", WAYS)
def test_next_token_mechanism(send: Send) -> None:
    """The same for tokens."""
    script = offering("OAUTHBEARER XOAUTH2", {"auth:1": UNKNOWN})
    with ScriptedServer(script) as scripted:
        auth = OAuth2(USER, scripted.password)
        send(MESSAGE, server_for(scripted, auth=auth), **envelope())
    assert [line.split()[1] for line in auths(scripted)] == [b"OAUTHBEARER", b"XOAUTH2"]


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("send", WAYS)
def test_no_mechanism_known(closes: bool, send: Send) -> None:
    """Where each mechanism gets a 504, the next port is tried; else it is an error."""
    action = UNKNOWN + close() if closes else UNKNOWN
    script = offering("PLAIN LOGIN", {"auth": action})
    with ScriptedServer(starttls=script, implicit=Script()) as scripted:
        send(MESSAGE, server_for(scripted, "starttls", "implicit"), **envelope())
    assert len(scripted.accepted) == 1
    with ScriptedServer(script) as scripted, pytest.raises(AuthError) as caught:
        send(MESSAGE, server_for(scripted, "implicit"), **envelope())
    error = caught.value
    assert (error.event, error.phase) == (Event.NO_MECHANISM, Phase.AUTH)
    assert not error.temporary
    assert error.reply is not None
    assert error.reply.code == 504
    assert len(auths(scripted)) == (1 if closes else 2)


@pytest.mark.parametrize("send", WAYS)
def test_closed_after_the_504(send: Send) -> None:
    """The end of the connection may be seen only after the next AUTH: the same error."""
    script = offering("PLAIN LOGIN", {"auth:1": UNKNOWN, "auth:2": close()})
    with ScriptedServer(script) as scripted, pytest.raises(AuthError) as caught:
        send(MESSAGE, server_for(scripted, "implicit"), **envelope())
    assert caught.value.event is Event.NO_MECHANISM
    assert caught.value.reply is not None
    assert caught.value.reply.code == 504


@pytest.mark.parametrize("code", [500, 501, 502, 503, 530, 534, 535, 538, 454])
def test_other_refusals(code: int) -> None:
    """Any other refusal ends the login: the password may have been looked at."""
    script = offering("PLAIN LOGIN", {"auth": reply(code, "", "no")})
    with ScriptedServer(script) as scripted, pytest.raises(AuthError):
        WAYS[0](MESSAGE, server_for(scripted), **envelope())
    assert len(auths(scripted)) == 1


def test_504_after_the_secret() -> None:
    """A 504 in reply to the secret itself says nothing of the kind."""
    script = offering("LOGIN CRAM-MD5", {"auth-step:2": UNKNOWN})
    with ScriptedServer(script) as scripted, pytest.raises(SendError) as caught:
        WAYS[0](MESSAGE, server_for(scripted), **envelope())
    assert caught.value.event is Event.AUTH_REFUSED
    assert len(auths(scripted)) == 1
