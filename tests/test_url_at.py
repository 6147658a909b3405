"""A raw @ in the user or the password of a URL: the last one of the authority counts."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import ScriptedServer
from sending import MESSAGE, WAYS, Send, envelope, policy_for

from smtpsend import Password, Server
from smtpsend.errors import ConfigError


URLS = {
    "smtp://ann%40example.org:secret@mail.example.org": ("ann@example.org", "secret"),
    "smtp://ann@example.org:secret@mail.example.org": ("ann@example.org", "secret"),
    "smtp://ann:p@ss@mail.example.org": ("ann", "p@ss"),
    "smtp://ann:@secret@mail.example.org": ("ann", "@secret"),
    "smtp://ann:secret@@mail.example.org": ("ann", "secret@"),
    "smtp://@ann:secret@mail.example.org": ("@ann", "secret"),
    "smtp://ann@example.org:p@s:s@mail.example.org": ("ann@example.org", "p@s:s"),
    "smtp://a@b%3Ac:p@mail.example.org": ("a@b:c", "p"),
}


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("rest", ["", "/", ":587"])
def test_raw(url: str, rest: str) -> None:
    """The host stands after the last @, and the password after the first colon."""
    server = Server.from_url(url + rest)
    assert server.host == "mail.example.org"
    assert server.auth == Password(*URLS[url])


USER = st.text(st.sampled_from("@@@abc.-_~!$&'()*+,;=é€ß%"), min_size=1)
SECRET = st.text(st.sampled_from("@@@:abc.-_~!$&'()*+,;=é€ß%"), min_size=1)


@settings(deadline=None)  # a busy machine is no failure
@given(USER, SECRET, st.sampled_from(["h.example", "127.0.0.1", "[::1]"]))
def test_any_raw(user: str, secret: str, host: str) -> None:
    """An @ written as it is and one that is percent-encoded mean the same anywhere."""
    encoded = Server.from_url(
        f"smtp://{quote(user, safe='')}:{quote(secret, safe='')}@{host}"
    )
    user, secret = user.replace("%", "%25"), secret.replace("%", "%25")
    raw = Server.from_url(f"smtp://{user}:{secret}@{host}")
    assert raw == encoded
    assert raw.auth is not None
    assert raw.host == host.strip("[]")


REFUSED = """smtp://ann@example.org@mail.example.org smtp://ann@example.org:@mail.example.org
smtp://@mail.example.org smtp://@@mail.example.org smtp://ann@example.org:secret
smtp://ann@example.org:secret@ smtp://ann:pa/ss@mail.example.org smtp://ann:p?s@h.example
smtp://ann:p#s@h.example smtp://ann@example.org:secret@mail.example.org/@h
smtp://ann@example.org:secret@mail.example.org?@h smtp://:p@ss@h.example"""


@pytest.mark.parametrize("url", REFUSED.split())
def test_refused(url: str) -> None:
    """A user without a password, no host, or an @ outside of the authority is refused."""
    with pytest.raises(ConfigError) as caught:
        Server.from_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("send", WAYS)
def test_login(send: Send) -> None:
    """A mail address as it is, in the URL that is given to a send, is the user name."""
    with ScriptedServer() as scripted:
        url = f"smtp://{scripted.user}:{quote(scripted.password)}@{scripted.host}"
        assert "@" in scripted.user
        server = Server.from_url(url, policy=policy_for(scripted), cafile=scripted.ca)
        receipt = send(MESSAGE, server, **envelope())
    assert receipt.accepted
    assert server.auth == Password(scripted.user, scripted.password)
