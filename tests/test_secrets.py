"""P5: no secret, and no base64 of one, in anything that a person or a log can see."""

from __future__ import annotations

import base64
import hashlib
import logging
import pickle
import pickletools
import re
import traceback
from collections.abc import Callable, Iterator

import pytest
from scripted import Action, Script, ScriptedServer, close, normal, reply, say
from scripted.judge import secret_forms
from sending import MESSAGE, WAYS, Send, envelope, send_sync, server_for

from smtpsend import OAuth2, Password, Receipt, SendError, Server
from smtpsend._model.server.credentials import known_secret, provider_of
from smtpsend._model.server.password_file import FilePassword
from smtpsend._protocol.redaction.redact import Redactor
from smtpsend.errors import ConfigError


USER = "user@example.org"
SECRET = "s3cret-Pa55word"
OFFERS = ("SIZE", "ENHANCEDSTATUSCODES")


def everything(end: BaseException | Receipt) -> str:
    """All that can be seen of an error, with its causes, or of a receipt."""
    seen = [repr(end), str(end), str(getattr(end, "__dict__", ""))]
    if isinstance(end, BaseException):
        seen += map(repr, end.args)
        chain: traceback.TracebackException | None
        chain = traceback.TracebackException.from_exception(end)
        while chain is not None:
            seen += chain.format()
            chain = chain.__cause__ or chain.__context__  # also what `from None` hides
    seen += (str(argument) for _, argument, _ in pickletools.genops(pickle.dumps(end)))
    return "\n".join(seen)


def hidden(secret: str, seen: str) -> None:
    """Assert that nothing of a secret is seen: no two thirds of it, none in base64."""
    seen = re.sub(r"\s|\\n", "", seen)
    for part in (secret, secret[:9], secret[-9:]):
        shown = (part, repr(part)[1:-1], ascii(part.encode())[2:-1])
        assert not [form for form in shown if form.lower() in seen.lower()]
        assert not [form for form in secret_forms(part) if form.decode() in seen]


class Records(logging.Handler):
    """Keeps what is logged, as text and as arguments."""

    def __init__(self) -> None:
        super().__init__(0)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += [record.getMessage(), repr(record.args), str(vars(record))]


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged, of all loggers and at every level."""
    handler, root, ours = Records(), logging.getLogger(), logging.getLogger("smtpsend")
    level, own = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(1)
    ours.setLevel(1)
    try:
        yield handler.seen
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        ours.setLevel(own)


def b64(*fields: str) -> str:
    """Base64 of fields with a NUL between them."""
    return base64.b64encode("\0".join(fields).encode()).decode()


# What a server can make of a secret that it was told.
ECHOES: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "in a sentence": lambda s: f"wrong password <{s}>, go away",
    "upper": str.upper,
    "base64": b64,
    "base64 without padding": lambda s: b64(s).rstrip("="),
    "PLAIN": lambda s: f"AUTH PLAIN {b64('', USER, s)}",
    "PLAIN with authzid": lambda s: f"AUTH PLAIN {b64(USER, USER, s)}",
    "PLAIN in clear": lambda s: f"\0{USER}\0{s}",
    "cut PLAIN": lambda s: f"AUTH PLAIN {b64('', USER, s)[:-6]}",
    "XOAUTH2": lambda s: b64(f"user={USER}\x01auth=Bearer {s}\x01\x01"),
    "OAUTHBEARER": lambda s: b64(f"n,a={USER},\x01auth=Bearer {s}\x01\x01"),
    "shifted": lambda s: b64(f"x{s}"),
    "shifted by two": lambda s: b64(f"xy{s}"),
    "blanks": " ".join,
    "twice": lambda s: f"{s}{s}",
    "control characters": "\x1b".join,
}
REFUSED_AT = ("auth", "mail", "rcpt", "data", "final")


def multi(code: int, text: str, enhanced: str = "") -> Action:
    """A reply that breaks a text over three lines."""
    third = max(1, len(text) // 3)
    lines = [text[:third], text[third : 2 * third], text[2 * third :]]
    return reply(code, enhanced, *lines)


def end_of(send: Send, script: Script | list[Script], auth: object, *names: str) -> str:
    """All that is seen of one send, whatever its end."""
    with ScriptedServer(script, password=secret_of(auth)) as scripted:
        server = server_for(scripted, *names or ("implicit",), auth=auth)
        try:
            return everything(send(MESSAGE, server, **envelope()))
        except SendError as error:
            return everything(error)


def secret_of(auth: Password | OAuth2) -> str:
    """The password or the token."""
    provider = provider_of(auth)
    return known_secret(auth) or str(provider and provider())


# A token of 3,000 characters, as Microsoft issues them.
LONG = "".join(hashlib.sha256(b"%d" % n).hexdigest() for n in range(47))[:3000]
LOGINS = {
    "PLAIN": (Password(USER, SECRET), ("AUTH PLAIN",)),
    "LOGIN": (Password(USER, SECRET), ("AUTH LOGIN",)),
    "CRAM-MD5": (Password(USER, SECRET), ("AUTH CRAM-MD5",)),
    "SCRAM": (Password(USER, SECRET), ("AUTH SCRAM-SHA-256",)),
    "long token": (OAuth2(USER, LONG), ("AUTH XOAUTH2",)),
    "long token of a function": (OAuth2(USER, lambda: LONG), ("AUTH OAUTHBEARER",)),
    "UTF-8": (Password(USER, 'pässw"ö\\rd-€'), ("AUTH PLAIN",)),
    "XOAUTH2": (OAuth2(USER, SECRET), ("AUTH XOAUTH2",)),
    "OAUTHBEARER": (OAuth2(USER, SECRET), ("AUTH OAUTHBEARER",)),
    "function": (Password(USER, lambda: SECRET), ("AUTH PLAIN",)),
    "LOGIN by a function": (Password(USER, lambda: SECRET), ("AUTH LOGIN",)),
    "provider": (OAuth2(USER, lambda: SECRET), ("AUTH XOAUTH2",)),
}


# Every echo of a PLAIN login, and each other login with every fourth: which forms are
# hidden does not depend on the mechanism; test_echoed_forms.py needs no socket for them.
ECHOED = [
    (name, echo)
    for m, name in enumerate(LOGINS)
    for n, echo in enumerate(ECHOES)
    if name == "PLAIN" or echo == name or (m + n) % 4 == 0
]


@pytest.mark.parametrize(("name", "echo"), ECHOED)
def test_echo_of_a_login(name: str, echo: str, logged: list[str]) -> None:
    """A refused login shows nothing of what the server repeated, on one line or three."""
    auth, mechanisms = LOGINS[name]
    text = ECHOES[echo](secret_of(auth))
    for action in (
        reply(535, "5.7.8", text),
        multi(535, text, "5.7.8"),
        multi(535, text),
    ):
        script = Script({"auth": action}, offers=(*OFFERS, *mechanisms))
        hidden(secret_of(auth), end_of(send_sync, script, auth))
    hidden(secret_of(auth), "\n".join(logged))


@pytest.mark.parametrize("moment", REFUSED_AT)
@pytest.mark.parametrize("send", WAYS)
def test_echo_at_every_step(moment: str, send: Send, logged: list[str]) -> None:
    """A refusal at any step shows nothing of what the server repeated."""
    auth, _ = LOGINS["PLAIN"]
    for code, echo in ((550, "plain"), (450, "PLAIN"), (550, "base64"), (421, "upper")):
        script = Script({moment: multi(code, ECHOES[echo](SECRET))})
        hidden(SECRET, end_of(send, script, auth))
    hidden(SECRET, "\n".join(logged))


@pytest.mark.parametrize("echo", ECHOES)
def test_echo_in_an_acceptance(echo: str, logged: list[str]) -> None:
    """A receipt, and the log line of a success, show nothing of what was repeated."""
    auth, _ = LOGINS["PLAIN"]
    text = ECHOES[echo](SECRET)
    script = Script({"final": reply(250, "2.0.0", text), "rcpt:2": reply(550, "", text)})
    with ScriptedServer(script) as scripted:
        recipients = ["bob@example.net", "eve@example.net"]
        server = server_for(scripted, "implicit", auth=auth)
        receipt = send_sync(MESSAGE, server, **envelope(recipients=recipients))
    assert receipt.reply.code == 250
    hidden(SECRET, everything(receipt))
    with pytest.raises(SendError) as caught:
        receipt.raise_for_refused()
    hidden(SECRET, everything(caught.value))
    hidden(SECRET, "\n".join(logged))


def line(code: str, text: str) -> Action:
    """A line as it is."""
    return say(f"{code}{text}\r\n".encode())


GARBLED: dict[str, Callable[[str], dict[str, Action]]] = {
    "no reply": lambda s: {"auth": line("", s)},
    "no reply, long": lambda s: {"auth": line("x" * 52, s)},
    "no reply at MAIL": lambda s: {"mail": line("? ", s)},
    "no reply at the end": lambda s: {"final": line("", b64(s))},
    "disagreeing": lambda s: {"mail": say(f"250-{s}\r\n550 {s}\r\n".encode())},
    "one too many": lambda s: {"auth": normal() + line("250 ", s)},
    "a stray 334": lambda s: {"auth": say(f"235 ok\r\n334 {s}\r\n".encode())},
    "a stray 334 of base64": lambda s: {
        "auth": say(f"235 ok\r\n334 {b64(s)}\r\n".encode())
    },
    "half a line": lambda s: {"auth": say(f"235 ok\r\n250-{s}".encode())},
    "an odd 3yz": lambda s: {"auth": line("399 ", s)},
    "a bad challenge": lambda s: {"auth": line("334 ", s)},
    "a 334 at MAIL": lambda s: {"mail": line("334 ", s)},
    "foreign codes": lambda s: {
        "auth": say(f"535-2.7.0 {s[:5]}\r\n535 2.7.0 {s[5:]}\r\n".encode())
    },
    "two codes": lambda s: {
        "auth": say(f"535-5.7.8 {s[:5]}\r\n535 5.7.9 {s[5:]}\r\n".encode())
    },
}


@pytest.mark.parametrize("case", GARBLED)
@pytest.mark.parametrize("name", ["PLAIN", "UTF-8"])
def test_echo_in_garbage(case: str, name: str, logged: list[str]) -> None:
    """What is no reply, or one too many, shows nothing of what was repeated either."""
    auth, _ = LOGINS[name]
    hidden(
        secret_of(auth), end_of(send_sync, Script(GARBLED[case](secret_of(auth))), auth)
    )
    hidden(secret_of(auth), "\n".join(logged))


@pytest.mark.parametrize("moment", ["greeting", "ehlo"])
def test_echo_on_the_next_connection(moment: str, logged: list[str]) -> None:
    """What one connection was told is hidden where the next one repeats it."""
    auth, _ = LOGINS["PLAIN"]
    lost = Script({"auth": close()})
    told = Script({moment: reply(554, "5.7.1", SECRET) + close()})
    with ScriptedServer(starttls=lost, implicit=told) as scripted:
        server = server_for(scripted, "starttls", "implicit", auth=auth)
        with pytest.raises(SendError) as caught:
            send_sync(MESSAGE, server, **envelope())
    hidden(SECRET, everything(caught.value))
    hidden(SECRET, "\n".join(logged))


def raising() -> str:
    """A provider of tokens whose error holds the token."""
    raise ValueError(f"cannot refresh {SECRET}")


@pytest.mark.parametrize("provider", [raising, lambda: f"{SECRET}\n", lambda: [SECRET]])
@pytest.mark.parametrize("kind", [Password, OAuth2])
@pytest.mark.parametrize("send", WAYS)
def test_provider(
    kind: type[Password | OAuth2],
    provider: Callable[[], str],
    send: Send,
    logged: list[str],
) -> None:
    """Neither a provider's error nor what it returned wrongly is shown."""
    script = Script(offers=(*OFFERS, "AUTH XOAUTH2 PLAIN"))
    with ScriptedServer(script) as scripted:
        server = server_for(scripted, "implicit", auth=kind(USER, provider))
        with pytest.raises(SendError) as caught:
            send(MESSAGE, server, **envelope())
    seen = "".join(traceback.format_exception(caught.value)) + str(vars(caught.value))
    assert SECRET not in seen
    assert caught.value.__suppress_context__
    assert SECRET not in "\n".join(logged)


def test_repr() -> None:
    """repr() and str() of credentials, and of a server with them, hide the secret."""
    for auth in (
        Password(USER, SECRET),
        OAuth2(USER, SECRET),
        OAuth2(USER, lambda: SECRET),
        Password(USER, lambda: SECRET),
        Password(USER, FilePassword(SECRET, "/run/secrets/password")),
    ):
        for value in (auth, Server("host.example", auth)):
            assert SECRET not in f"{value!r} {value}"
            assert USER in repr(value)
    both = Password(SECRET, SECRET)  # one token as both, as Postmark wants it
    assert SECRET not in f"{both!r} {Server('host.example', both)}"


@pytest.mark.parametrize("send", WAYS)
def test_one_token_as_both(send: Send, logged: list[str]) -> None:
    """Where the user name is the password, too, no error and no log line has it."""
    both = Password(SECRET, SECRET)
    script = Script({"auth": reply(535, "5.7.8", "no")})
    hidden(SECRET, end_of(send, script, both))
    hidden(SECRET, "\n".join(logged))


URLS = """smtp://u:{}@host:99999 http://u:{}@host smtp://{}@host smtp://u:{}@host/path
smtp://u:{}@host?x=y smtp://u:{}@[host] u:{}@host smtp://u:{}%zz@host smtp://u:{}%ff@host
smtp://u:{}@a..b smtp://u:{}@é..b smtp://u:{}/@host smtp://u:{}%00@host
é:{}@host:25 u:{}@é.example smtp:u:{}@host smtp://u:{}@\u2100.example smtp://u:{}@\x01h"""


@pytest.mark.parametrize("url", URLS.split())
@pytest.mark.parametrize("send", WAYS)
def test_urls(url: str, send: Send) -> None:
    """No error quotes a URL that cannot be used, nor a host name that holds a secret."""
    with pytest.raises(ConfigError) as caught:
        send(MESSAGE, url.format(SECRET), **envelope())
    hidden(SECRET, everything(caught.value))


def test_redactor() -> None:
    """What is innocent is kept; what holds a secret, in any pieces, is not."""
    redact = Redactor()
    assert redact("nothing is known") == "nothing is known"
    redact.add(SECRET)
    assert redact(f"<{SECRET}> s3cret is no word") == "<***> s3cret is no word"
    hidden(SECRET, redact("\n".join(SECRET)))
    hidden(SECRET, redact("\n".join(f"5.7.{n} {c}" for n, c in enumerate(SECRET))))
    hidden(SECRET, redact(f"{SECRET} {SECRET[:5]}\n{SECRET[5:]}"))
