"""P5: a secret is hidden in whatever form a server repeats it, cut or whole."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import html
import json
import logging
import quopri
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import pytest
from scripted import Action, Script, ScriptedServer, close, reply
from scripted.judge import secret_forms
from sending import MESSAGE, WAYS, Send, envelope, send_sync, server_for

from smtpsend import OAuth2, Password, SendError, send_async
from smtpsend._protocol.redaction import redact as redactors
from smtpsend._protocol.redaction.redact import Redactor, redactor_for


USER = "user@example.org"
SECRETS = {
    "ascii": "s3cret-Pa55word",
    "special": 'p&ss<w>"0r/d%=+\\!',
    "words": "correct horse battery",
    "german": "Pässw0rt-größe",
    "cyrillic": "пароль-секрет",
    "symbols": "€uro💶money€",
    "long": "ya29." + "aB3-_xY9" * 40 + "~end.of.it",
}


def b64(text: str) -> str:
    """Base64 of a text."""
    return base64.b64encode(text.encode()).decode()


def each(form: str) -> Callable[[str], str]:
    """Every octet of the UTF-8 in the same form."""
    return lambda s: "".join(form.format(octet) for octet in s.encode())


def utf16(form: str) -> Callable[[str], str]:
    """Every unit of UTF-16 in the same form."""

    def escaped(secret: str) -> str:
        raw = secret.encode("utf-16-be")
        units = [int.from_bytes(raw[n : n + 2]) for n in range(0, len(raw), 2)]
        return "".join(form.format(unit) for unit in units)

    return escaped


FORMS: dict[str, Callable[[str], str]] = {
    "percent": lambda s: quote(s, safe=""),
    "percent, form": quote_plus,
    "percent, all": each("%{:02X}"),
    "percent, lower": each("%{:02x}"),
    "percent twice": lambda s: quote(quote(s, safe=""), safe=""),
    "percent, wide": utf16("%u{:04X}"),
    "percent, base64": lambda s: quote(b64(f"\0{USER}\0{s}"), safe=""),
    "quoted-printable": lambda s: quopri.encodestring(
        s.encode(), quotetabs=True
    ).decode(),
    "quoted-printable, all": each("={:02X}"),
    "encoded word": lambda s: "=?utf-8?q?" + each("={:02X}")(s) + "?=",
    "HTML": html.escape,
    "HTML, decimal": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "HTML, hexadecimal": lambda s: "".join(f"&#x{ord(c):x};" for c in s),
    "HTML, ASCII": lambda s: s.encode("ascii", "xmlcharrefreplace").decode(),
    "JSON": json.dumps,
    "JSON, all": utf16("\\u{:04x}"),
    "JSON in HTML": lambda s: html.escape(json.dumps({"password": s})),
    "repr of bytes": lambda s: repr(s.encode()),
    "repr": ascii,
    "octal": each("\\{:03o}"),
    "hex": lambda s: s.encode().hex(),
    "upper hex": lambda s: s.encode().hex().upper(),
    "hex with blanks": lambda s: s.encode().hex(" "),
    "escaped hex": each("\\x{:02x}"),
    "hex of PLAIN": lambda s: f"\0{USER}\0{s}".encode().hex(),
    "base64 twice": lambda s: b64(b64(s)),
    "PLAIN, base64 twice": lambda s: b64(b64(f"\0{USER}\0{s}")),
    "shifted, base64 twice": lambda s: b64(f"x{b64(f'xy{s}')}"),
    "XOAUTH2, base64 twice": lambda s: b64(
        b64(f"user={USER}\x01auth=Bearer {s}\x01\x01")
    ),
    "urlsafe base64": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64, cut at the front": lambda s: b64(f"\0{USER}\0{s}")[len(USER) * 2 :],
    "cut by one": lambda s: s[1:],
    "second half": lambda s: s[len(s) // 3 :],
    "third half": lambda s: "..." + s[-len(s) * 2 // 3 :],
    "the middle": lambda s: s[len(s) // 8 : -max(1, len(s) // 8)],
    "upper, cut": lambda s: s[1:].upper(),
    "blanks, cut": lambda s: " ".join(s[1:]),
    "Latin-1": lambda s: s.encode().decode("latin-1"),
    "Latin-1 twice": lambda s: s.encode().decode("latin-1").encode().decode("latin-1"),
    "cp1252": lambda s: s.encode().decode("cp1252", "ignore"),
}


def seen_of(text: str) -> str:
    """What is seen of a text, without what stands in it by right."""
    return "".join(text.split()).casefold()


# More than the secret stands in these, and may be seen.
WITH_MORE = {"percent, base64", "JSON in HTML"}


def hidden(secret: str, form: str, seen: str) -> None:
    """Assert that nothing is seen of a secret or of its form: no third of either."""
    seen = seen_of(seen)
    for text in (secret, form, ascii(form)[1:-1], form.encode().decode("latin-1")):
        text = seen_of(text)
        size = max(5, min(len(text) // 3, 40))
        for at in range(0, len(text) - size + 1, size):
            assert text[at : at + size] not in seen
    for coded in secret_forms(secret):
        assert seen_of(coded.decode()) not in seen_of(unquote(seen))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SECRETS)
def test_forms(name: str, form: str) -> None:
    """What a server repeats in another form is hidden, in a sentence and alone."""
    secret = SECRETS[name]
    text = FORMS[form](secret)
    shown = secret if form in WITH_MORE else text
    redact = Redactor()
    redact.add(secret)
    for sentence in (text, f"wrong password <{text}>, go away", f"x{text}x"):
        hidden(secret, shown, redact(sentence))
        third = len(sentence) // 3
        lines = sentence[:third], sentence[third : 2 * third], sentence[2 * third :]
        hidden(secret, shown, redact("\n".join(lines)))


def raw(code: int, text: bytes) -> Action:
    """A reply of any octets."""
    line = b"%d %s\r\n" % (code, text.replace(b"\n", b""))
    return Action(repr(line), lambda talk: talk.say(line))


def everything(error: SendError) -> str:
    """What is seen of an error."""
    return f"{error} {error!r} {error.reply} {error.attempts} {error.hint}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["special", "german"])
def test_on_the_wire(name: str, form: str, caplog: pytest.LogCaptureFixture) -> None:
    """The same over a connection: in the error, in the log and in the transcript."""
    caplog.set_level(logging.DEBUG)
    secret = SECRETS[name]
    text = FORMS[form](secret)
    shown = secret if form in WITH_MORE else text
    for action in (raw(535, text.encode()), raw(235, b"ok") + raw(250, text.encode())):
        script = Script({"auth": action})
        with ScriptedServer(script, password=secret) as scripted:
            server = server_for(scripted, "implicit", auth=Password(USER, secret))
            with pytest.raises(SendError) as caught:
                send_sync(MESSAGE, server, **envelope())
        hidden(secret, shown, everything(caught.value))
    told = [r.getMessage() for r in caplog.records if r.name.startswith("smtpsend")]
    hidden(secret, shown, "\n".join(told))


@pytest.mark.parametrize("charset", ["latin-1", "ascii", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("what", ["a reply", "no reply"])
def test_other_charsets(what: str, charset: str) -> None:
    """Nor is it seen in a charset that is not UTF-8, whole or with characters lost."""
    secret = SECRETS["german"]
    text = secret.encode(charset, "replace").replace(b"\0", b"")
    action = raw(535, text) if what == "a reply" else raw(535, b"")
    if what == "no reply":
        action = Action("no reply", lambda talk: talk.say(text + b"\r\n"))
    with ScriptedServer(Script({"auth": action}), password=secret) as scripted:
        server = server_for(scripted, "implicit", auth=Password(USER, secret))
        with pytest.raises(SendError) as caught:
            send_sync(MESSAGE, server, **envelope())
    seen = everything(caught.value)
    for part in ("ssw0rt", "rt-gr", secret[:6]):
        assert part.casefold() not in seen.casefold()


@pytest.mark.parametrize("name", SECRETS)
def test_garbled(name: str) -> None:
    """Nor is it in the picture of what is no reply, between control characters."""
    secret = SECRETS[name]
    text = "\x1b".join(secret[:40]).encode() + b"\r\n"
    with ScriptedServer(
        Script({"auth": Action("garbled", lambda talk: talk.say(text))}), password=secret
    ) as scripted:
        server = server_for(scripted, "implicit", auth=Password(USER, secret))
        with pytest.raises(SendError) as caught:
            send_sync(MESSAGE, server, **envelope())
    assert "\\x1b" not in everything(caught.value)


REPLIES = """2.0.0 Ok: queued as 4Zk3Qz1bPsz9vQ
5.7.8 Error: authentication failed: UGFzc3dvcmQ6
4.7.1 <bob@example.net>: Recipient address rejected: Greylisted, see http://x.example/?a=%20
5.1.1 The email account that you tried to reach does not exist. id=7%2F3&x=1 - gsmtp
scripted.example\\nPIPELINING\\nSIZE 10240000\\nSTARTTLS\\nENHANCEDSTATUSCODES\\n8BITMIME
2.1.5 Ok SESSIONID=<PR3PR04MB7404.eurprd04.prod.outlook.com 2026-11-27T23:27:14.123Z>"""


@pytest.mark.parametrize("name", SECRETS)
def test_innocent(name: str) -> None:
    """What servers say by themselves is shown as it is."""
    redact = Redactor()
    redact.add(SECRETS[name])
    for line in REPLIES.splitlines():
        text = line.replace("\\n", "\n")
        assert redact(text) == text


@pytest.mark.parametrize(
    "secret", ["starttls-2024-x", "my-PIPELINING-8BITMIME", "the password is pipelining"]
)
def test_keywords(secret: str) -> None:
    """A password made of words of the protocol does not hide what a server offers."""
    offers = ("SIZE 10000", "PIPELINING", "8BITMIME", "CHUNKING", "AUTH PLAIN")
    with ScriptedServer(Script(offers=offers), password=secret) as scripted:
        server = server_for(scripted, "starttls", auth=Password(USER, secret))
        receipt = send_sync(MESSAGE, server, **envelope())
    assert receipt.accepted
    redact = Redactor()
    redact.add(secret)
    hidden(secret, secret, redact(f"no: {secret}"))
    assert redact("535 incorrect authentication password") == (
        "535 incorrect authentication password"
    )


def test_short() -> None:
    """A short secret is hidden, and of longer words only itself."""
    redact = Redactor()
    redact.add("pw1")
    assert redact("pw1 and <PW1> are wrong, pw is not") == (
        "*** and <***> are wrong, pw is not"
    )
    assert redact("id 4a70773145") == "(hidden: it repeated a secret)"  # its hex


# The tokens of a function.


@pytest.mark.parametrize("moment", ["greeting", "ehlo"])
@pytest.mark.parametrize("send", WAYS)
def test_token_on_the_next_connection(moment: str, send: Send) -> None:
    """What a token function gave for one connection is hidden in the next one's."""
    token = SECRETS["ascii"]
    auth = OAuth2(USER, lambda: token)
    offers = ("SIZE", "AUTH XOAUTH2")
    scripts = [
        Script({"auth": close()}, offers=offers),
        Script({moment: reply(554, "5.7.1", token) + close()}, offers=offers),
    ]
    with ScriptedServer(scripts) as scripted:
        server = server_for(scripted, "implicit", auth=auth)
        for _ in scripts:
            with pytest.raises(SendError) as caught:
                send(MESSAGE, server, **envelope())
    hidden(token, token, everything(caught.value))


def token(n: int) -> str:
    """A token that is like no other."""
    return hashlib.sha256(b"%d" % n).hexdigest()


def test_tokens_are_forgotten() -> None:
    """A few tokens are kept, as long as what gave them is, and no more."""
    auth = OAuth2(USER, lambda: "never asked here")
    for n in range(9):
        redactor_for(auth).add(token(n))
    last = redactor_for(auth)
    assert last(token(8)) == "***"
    assert last(token(5)) == "***"
    assert last(token(4)) == token(4)
    known = len(redactors._tokens)
    del auth
    assert len(redactors._tokens) == known - 1


async def a_token(secret: str) -> str:
    """A coroutine that gives one."""
    await asyncio.sleep(0)
    return secret


def no_token(secret: str) -> str:
    """A function that fails, and quotes one."""
    raise ValueError(secret)


@pytest.mark.parametrize(
    "provider", [lambda secret: secret, a_token, no_token, lambda s: a_token(s)]
)
def test_debug_log(
    provider: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The debug log of asyncio, which shows what callbacks are given, has no token."""
    secret = SECRETS["ascii"]
    caplog.set_level(logging.DEBUG)

    async def main(server: Any) -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.0  # each callback is
        with contextlib.suppress(SendError):
            await send_async(MESSAGE, server, **envelope())

    with ScriptedServer(Script(offers=("SIZE", "AUTH XOAUTH2"))) as scripted:
        auth = OAuth2(USER, lambda: provider(secret))
        asyncio.run(main(server_for(scripted, "implicit", auth=auth)), debug=True)
    told = [r.getMessage() for r in caplog.records if r.name == "asyncio"]
    assert [text for text in told if "Executing" in text]
    hidden(secret, secret, "\n".join(told))


@pytest.mark.parametrize(
    "written", ["CORRECT-HORSE", "correct-hor\u017fe", "\u212aorrect"]
)
def test_other_case(written: str) -> None:
    """A secret in other letters is hidden, also in those that Unicode calls equal."""
    redact = Redactor()
    redact.add("correct-horse", "korrect")
    assert redact(f"no user {written} here") == "no user *** here"
