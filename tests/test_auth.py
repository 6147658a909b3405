"""The login: one try of one mechanism, inside TLS, with what servers do to it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from scripted import Action, Script, ScriptedServer, close, hang, reply, say
from sending import (
    MESSAGE,
    QUICK,
    WAYS,
    Send,
    envelope,
    patiently,
    send_in_loop,
    server_for,
)

from smtpsend import External, OAuth2, Password, SendError
from smtpsend._protocol.sasl import choose, exchange
from smtpsend.errors import AuthError, ConfigError, ConnectionLost, Event, Phase


USER = "user@example.org"
TOKEN = "ya29.t0ken"
ODD = "usér,b@example.org"


def offering(*mechanisms: str, on: dict[str, Action] | None = None) -> Script:
    """A server that offers these mechanisms, in one AUTH line each."""
    return Script(on or {}, offers=("SIZE", "ENHANCEDSTATUSCODES", *mechanisms))


def auth_lines(scripted: ScriptedServer) -> list[bytes]:
    """The AUTH commands that came, over all connections."""
    lines = [line for c in scripted.connections for _, line in c.commands]
    return [line for line in lines if line.upper().startswith(b"AUTH")]


MECHANISMS = {
    "PLAIN": (Password, "AUTH PLAIN"),
    "LOGIN": (Password, "AUTH LOGIN"),
    "CRAM-MD5": (Password, "AUTH CRAM-MD5"),
    "SCRAM-SHA-256": (Password, "AUTH SCRAM-SHA-256"),
    "SCRAM-SHA-1": (Password, "AUTH SCRAM-SHA-1"),
    "XOAUTH2": (OAuth2, "AUTH XOAUTH2"),
    "OAUTHBEARER": (OAuth2, "AUTH OAUTHBEARER"),
}


@pytest.mark.parametrize("user", [USER, ODD])
@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("send", WAYS)
def test_mechanisms(name: str, user: str, send: Send) -> None:
    """Each mechanism logs in, with ASCII and with UTF-8 credentials."""
    kind, offer = MECHANISMS[name]
    secret = "pässwörd €" if kind is Password else TOKEN
    with ScriptedServer(offering(offer), user=user, password=secret) as scripted:
        server = server_for(scripted, "implicit", auth=kind(user, secret))
        send(MESSAGE, server, **envelope())
    assert len(scripted.accepted) == 1
    assert auth_lines(scripted)[0].split()[1] == name.encode()
    scripted.assert_clean()


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("send", WAYS)
def test_refused(name: str, send: Send) -> None:
    """A wrong password or token is one try of one mechanism, and an AuthError."""
    kind, offer = MECHANISMS[name]
    other = "CRAM-MD5" if kind is Password else "PLAIN"
    with ScriptedServer(offering(f"{offer} {other}")) as scripted:
        server = server_for(scripted, auth=kind(USER, "wrong"), stagger=4)
        with pytest.raises(AuthError) as caught:
            send(MESSAGE, server, **envelope())
    error = caught.value
    assert (error.reply.code, error.reply.enhanced) == (535, "5.7.8")
    assert (error.temporary, error.timed_out, error.phase) == (False, False, Phase.AUTH)
    assert len(scripted.connections) == len(auth_lines(scripted)) == 1
    scripted.assert_clean()


OFFERED = {
    "auth plain login": b"PLAIN",
    "Auth Login": b"LOGIN",
    "AUTH=PLAIN": b"PLAIN",
    "AUTH=LOGIN CRAM-MD5": b"LOGIN",
    "AUTH NTLM GSSAPI cram-md5": b"CRAM-MD5",
    "AUTH  LOGIN   PLAIN ": b"PLAIN",
    "AUTH PLAIN PLAIN PLAIN": b"PLAIN",
    "AUTH X-PLAIN PLAIN-CLIENTTOKEN LOGIN": b"LOGIN",
}


@pytest.mark.parametrize("offer", OFFERED)
def test_odd_offers(offer: str) -> None:
    """A mechanism is found in any spelling, and only as a whole word."""
    ehlo = say(f"250-scripted.example\r\n250-SIZE\r\n250 {offer}\r\n".encode())
    script = offering("AUTH PLAIN LOGIN CRAM-MD5", on={"ehlo": ehlo})
    with ScriptedServer(script) as scripted:
        send_in_loop(MESSAGE, server_for(scripted, "implicit"), **envelope())
    assert [line.split()[1] for line in auth_lines(scripted)] == [OFFERED[offer]]


@pytest.mark.parametrize("send", WAYS)
def test_only_before_tls(send: Send) -> None:
    """AUTH that is offered before TLS alone is not offered, and nothing is said of it."""
    in_clear = ("STARTTLS", "AUTH PLAIN LOGIN")
    script = Script(offers=("SIZE",), offers_in_clear=in_clear)
    with ScriptedServer(script, implicit=None, starttls2=None) as scripted:
        with pytest.raises(AuthError) as caught:
            send(MESSAGE, server_for(scripted), **envelope())
    assert caught.value.event is Event.NO_MECHANISM
    assert not caught.value.temporary
    scripted.assert_clean(auths=0)


CHALLENGE = base64.b64encode(b"<1@x>").decode()
B64 = f"334 {CHALLENGE}\r\n".encode()
# What the server says to AUTH and to each line after it; the mechanism; what comes out.
BAD = {
    "454": ("PLAIN", reply(454, "4.7.0", "later"), AuthError, True),
    "432": ("PLAIN", reply(432, "4.7.12", "transition"), AuthError, True),
    "534": ("PLAIN", reply(534, "5.7.9", "too weak"), AuthError, False),
    "538": ("LOGIN", reply(538, "5.7.11", "encryption"), AuthError, False),
    "535 and close": ("PLAIN", reply(535, "5.7.8", "no") + close(), AuthError, False),
    "504": ("CRAM-MD5", reply(504, "5.5.4", "no"), AuthError, False),
    "endless 334": ("PLAIN", say(b"334 \r\n"), ConnectionLost, True),
    "endless 334 to LOGIN": ("LOGIN", say(B64), ConnectionLost, True),
    "endless 334 to CRAM-MD5": ("CRAM-MD5", say(B64), ConnectionLost, True),
    "bad base64": ("CRAM-MD5", say(b"334 !!!\r\n"), ConnectionLost, True),
    "bad padding": ("CRAM-MD5", say(b"334 PDE=PDE\r\n"), ConnectionLost, True),
    "334 in two lines": ("LOGIN", say(b"334-a\r\n334 b\r\n"), ConnectionLost, True),
    "354": ("PLAIN", say(b"354 go\r\n"), ConnectionLost, True),
    "garbage": ("LOGIN", say(b"\xff\xfe\r\n"), ConnectionLost, True),
    "hangs": ("LOGIN", hang(), ConnectionLost, True),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("send", WAYS)
@patiently
def test_bad_answers(case: str, send: Send) -> None:
    """Whatever the server answers, it is one AUTH line and a typed error."""
    name, action, kind, temporary = BAD[case]
    script = offering(f"AUTH {name}", on={"auth": action, "auth-step": action})
    with ScriptedServer(script) as scripted:
        with pytest.raises(SendError) as caught:
            send(MESSAGE, server_for(scripted, "implicit", **QUICK), **envelope())
    error = caught.value
    assert (type(error), error.phase) == (kind, Phase.AUTH)
    assert (error.temporary, error.timed_out) == (temporary, case == "hangs")
    assert len(scripted.connections) == len(auth_lines(scripted)) == 1
    assert not scripted.accepted
    scripted.assert_clean()


PROMPTS = [b"334 VXNlcm5hbWU6\r\n", b"334\r\n", b"334 \r\n", b"334 UGFzc3dvcmQ6\r\n"]
PROMPTS += [b"334 dXNlcm5hbWU6AA==\r\n", b"334   VXNlcg== \r\n"]
PROMPTS += [b"334 Username:\r\n", b"334 \xff?\r\n", b"334-Hello\r\n334 User Name:\r\n"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_login_prompts(prompt: bytes) -> None:
    """LOGIN gives the user first and the password then, whatever the prompts say."""
    on = {"auth": say(prompt), "auth-step:1": say(prompt)}
    with ScriptedServer(offering("AUTH LOGIN", on=on)) as scripted:
        send_in_loop(MESSAGE, server_for(scripted, "implicit"), **envelope())
    answers = [base64.b64decode(line) for line in scripted.connections[0].auth_lines]
    assert answers == [scripted.user.encode(), scripted.password.encode()]


@pytest.mark.parametrize("code", [250, 235, 299])
def test_any_2yz_is_a_success(code: int) -> None:
    """250 in place of 235 lets us in: if it does not, MAIL is refused."""
    script = offering("AUTH PLAIN", on={"auth": reply(code, "", "ok")})
    with ScriptedServer(script) as scripted:
        send_in_loop(MESSAGE, server_for(scripted, "implicit"), **envelope())
    assert len(scripted.accepted) == 1


UNUSABLE = ["s3cret" + chr(n) + "x" for n in (*range(32), 127, 0xD800)]


@pytest.mark.parametrize("value", ["", None, b"s3cret", 1, *UNUSABLE], ids=ascii)
def test_unusable_credentials(value: Any) -> None:
    """A control character, nothing, or no text is refused when it is given, unseen."""
    for kind in (Password, OAuth2):
        for fields in ((value, "x"), ("u", value)):
            with pytest.raises(ConfigError) as caught:
                kind(*fields)
            assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("auth", "offered", "chosen"),
    [
        (Password("u", "p"), ["cram-md5", "Login", "PLAIN"], "PLAIN"),
        (Password("u", "p"), ["XOAUTH2", "OAUTHBEARER"], None),
        (Password("u", "p"), ["SCRAM-SHA-256", "scram-sha-1", "Login"], "LOGIN"),
        (Password("u", "p"), ["CRAM-MD5", "SCRAM-SHA-1"], "SCRAM-SHA-1"),
        (Password("u", "p"), ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1"], "SCRAM-SHA-1"),
        (External(), ["PLAIN", "EXTERNAL"], "EXTERNAL"),
        (Password("u", "p"), ["EXTERNAL"], None),
        (OAuth2("u", "t"), ["PLAIN", "XOAUTH2", "OAUTHBEARER"], "OAUTHBEARER"),
        (OAuth2("u", "t"), ["PLAIN", "LOGIN"], None),
    ],
)
def test_choice(auth: Any, offered: list[str], chosen: str | None) -> None:
    """The best that fits is chosen; a password is never sent as a token."""
    assert choose(auth, offered) == chosen


def test_vectors() -> None:
    """CRAM-MD5 by the example of RFC 2195; the user of OAUTHBEARER escaped (RFC 5801)."""
    talk = exchange("CRAM-MD5", Password("tim", "tanstaaftanstaaf"), "tanstaaftanstaaf")
    assert next(talk) is None
    answer = talk.send(b"<1896.697170952@postoffice.reston.mci.net>")
    assert answer == b"tim b913a602c7eda7a495b4e6e7334d3890"
    talk = exchange("OAUTHBEARER", OAuth2("a=b,c", "t"), "t")
    assert next(talk) == b"n,a=a=3Db=2Cc,\x01auth=Bearer t\x01\x01"
