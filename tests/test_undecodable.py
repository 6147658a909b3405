"""What is not UTF-8 (lone surrogates), wherever it can come in: a ConfigError.

No secret stands in it, nor in what a debugger, a log or a pickle finds in its causes.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sending import MESSAGE, WAYS, Send, envelope

from smtpsend import Client, Method, OAuth2, Password, Server, compose
from smtpsend.cli.exits import Exit
from smtpsend.errors import ConfigError


SECRET = "s3cr3t"
# What os.environ and sys.argv make of a byte that is not UTF-8, and any other one.
SURROGATES = ("\udce4", "\ud800", "\udfff")


def traces(error: BaseException | None) -> Iterator[str]:
    """All that an error shows or keeps, and each error that it came from."""
    while error is not None:
        yield f"{error} {error!r} {error.args} {vars(error)}"
        yield repr(pickle.dumps(error))
        error = error.__cause__ or error.__context__


def refused(make: Callable[[], object]) -> str:
    """The text of the ConfigError that this raises, which keeps no secret."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert SECRET not in "\n".join(traces(caught.value))
    text = str(caught.value)
    assert text.isprintable()  # so that it can be written to any stream of text
    assert not caught.value.temporary
    return text


URLS = """smtp://ann:{0}X@h smtp://ann:X{0}@h smtp://annX:{0}@h smtp://X:{0}@h
smtp://ann:{0}@hX smtp://ann:{0}@X smtp://ann:{0}@h.X.example smtp://ann:{0}@éX.example
smtp://ann:{0}@h:5X smtp://ann:{0}@[::1X] smtp://ann:{0}@h/X smtp://ann:{0}@h?X
smtp://ann:{0}@h#X smtpX://ann:{0}@h smtp:X//ann:{0}@h Xsmtp://ann:{0}@h
smtp://ann:{0}%X@h smtp://ann:{0}%4X@h ann:{0}X@h ann:{0}@X"""
ESCAPES = """smtp://ann:{0}%E4@h smtp://ann:%E4{0}@h smtp://%E4:{0}@h smtp://ann:{0}%C3@h
smtp://ann:{0}%ED%B3%A4@h smtp://ann:{0}%ED%A0%80@h smtp://ann:{0}%F5%80%80%80@h
smtp://ann:{0}%@h smtp://ann:{0}%2@h smtp://ann:{0}%zz@h smtp://ann:{0}%00@h"""
ANY_URL = [url.replace("X", s) for url in URLS.split() for s in SURROGATES]
ANY_URL += ESCAPES.split()


@pytest.mark.parametrize("url", ANY_URL, ids=ascii)
def test_urls(url: str) -> None:
    """A URL that is no text, in any part or percent-encoded, is refused without it."""
    url = url.format(SECRET)
    refused(lambda: Server.from_env({"SMTP_URL": url}))
    refused(lambda: Client(url))
    if "://" in url:
        refused(lambda: Server.from_url(url))


@pytest.mark.parametrize("send", WAYS)
def test_sends(send: Send) -> None:
    """Each way to send refuses such a URL in the same way, before any network."""
    text = refused(
        lambda: send(MESSAGE, f"smtp://ann:{SECRET}\udce4@h.example", **envelope())
    )
    assert "lone surrogate" in text


VALUES: dict[str, Callable[[str], object]] = {
    "user name": lambda s: Password(f"ann{s}", SECRET),
    "password": lambda s: Password("ann", SECRET + s),
    "OAuth 2.0 user name": lambda s: OAuth2(f"ann{s}", SECRET),
    "token": lambda s: OAuth2("ann", SECRET + s),
    "SMTP_HOST": lambda s: environ(HOST=f"h{s}"),
    "SMTP_USERNAME": lambda s: environ(USERNAME=f"ann{s}"),
    "SMTP_PASSWORD": lambda s: environ(PASSWORD=SECRET + s),
    "SMTP_PASSWORD_FILE": lambda s: environ(PASSWORD=None, PASSWORD_FILE=SECRET + s),
    "host": lambda s: Server(f"h{s}", Password("ann", SECRET)),
    "EHLO name": lambda s: Server("h", ehlo_name=f"me{s}.example"),
    "EHLO literal": lambda s: Server("h", ehlo_name=f"[{s}]"),
    "fingerprint": lambda s: Server("h", fingerprint=f"sha256:{s}"),
    "redirect_to": lambda s: Server("h", redirect_to=f"ann{s}@example.org"),
    "method": lambda s: Method(587, f"starttls{s}"),  # type: ignore[arg-type]
    "cafile": lambda s: Client(Server("127.0.0.1", cafile=f"/nowhere{s}")).check(),
    "attachment": lambda s: an_example(attachments=[f"/nowhere{s}"]),
    "attached name": lambda s: an_example(attachments=[(f"n{s}", b"x")]),
    "content id": lambda s: an_example(html="x", inline={f"n{s}": ("n", b"x")}),
    "subject": lambda s: an_example(subject=f"Hello {s}"),
    "text": lambda s: an_example(text=f"Hello {s}"),
    "HTML": lambda s: an_example(html=f"Hello {s}"),
    "header name": lambda s: an_example(headers={f"X-{s}": "x"}),
    "header": lambda s: an_example(headers={"X-A": f"x{s}"}),
    "From": lambda s: an_example(sender=f"ann{s}@example.org"),
    "From, name": lambda s: an_example(sender=f"Ann {s} <ann@example.org>"),
    "To": lambda s: an_example(to=f"bob@{s}.example"),
    "Reply-To": lambda s: an_example(reply_to=f"bob{s}@example.net"),
}


def environ(**changes: str | None) -> Server:
    """The server of an environment with a login, of which something is changed."""
    found = {"HOST": "h", "USERNAME": "ann", "PASSWORD": SECRET, **changes}
    return Server.from_env({f"SMTP_{k}": v for k, v in found.items() if v is not None})


def an_example(**changes: Any) -> object:
    """A message, composed."""
    return compose(**{"sender": "ann@example.org", "to": "bob@example.net"} | changes)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=ascii)
@pytest.mark.parametrize("name", VALUES)
def test_values(name: str, surrogate: str) -> None:
    """Whatever is given as text is refused where it is none; no error keeps a secret."""
    refused(lambda: VALUES[name](surrogate))


@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize("which", ["sender", "recipients"])
def test_envelopes(which: str, send: Send) -> None:
    """An envelope that is no text is refused before any network."""
    given: Any = "x\udce4@example.org"
    changed = {which: given if which == "sender" else [given]}
    refused(lambda: send(MESSAGE, "h.example", **envelope() | changed))


@pytest.mark.parametrize("content", [b"s3cr3t\xe4", b"\xff\xfes\x003\x00", b"\xe4s3cr3t"])
def test_password_files(content: bytes, tmp_path: Path) -> None:
    """A password file in another charset is refused, and no error keeps what it holds."""
    (tmp_path / "password").write_bytes(content)
    file = str(tmp_path / "password")
    text = refused(lambda: environ(PASSWORD=None, PASSWORD_FILE=file))
    assert "not UTF-8" in text


TEXT = st.text(st.one_of(st.characters(), st.sampled_from("@:/?#[]%\udce4\ud800")))


@settings(deadline=None)  # a busy machine is no failure
@given(TEXT, TEXT, TEXT)
def test_any_text(user: str, more: str, host: str) -> None:
    """Any text as a URL is a Server or a ConfigError whose causes hold no secret."""
    seen = ""
    try:
        Server.from_url(f"smtp://{user}:{SECRET}{more}@{host}")
    except ConfigError as error:
        seen = "\n".join(traces(error))
    assert SECRET not in seen


@pytest.mark.parametrize("name", ["URL", "HOST", "USERNAME", "PASSWORD"])
def test_bytes_in_the_environment(name: str) -> None:
    """A program whose environment is not UTF-8 ends with the code of a wrong server."""
    given = {"HOST": b"127.0.0.1", "USERNAME": b"ann", "PASSWORD": SECRET.encode()}
    if name == "URL":
        given = {"URL": f"smtp://ann:{SECRET}".encode() + b"\xe4@127.0.0.1"}
    else:
        given[name] += b"\xe4"
    environ = {k: v for k, v in os.environb.items() if not k.startswith(b"SMTP_")}
    environ |= {b"SMTP_" + k.encode(): v for k, v in given.items()}
    environ[b"PYTHONPATH"] = str(Path(__file__).parents[1]).encode()
    ended = subprocess.run(
        [sys.executable, "-m", "smtpsend", "check"], env=environ, capture_output=True
    )
    assert (ended.returncode, ended.stdout) == (Exit.CONFIG, b"")
    assert ended.stderr.startswith(b"smtpsend: ")
    assert SECRET.encode() not in ended.stderr
