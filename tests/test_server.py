"""`Server` from hosts, URLs and the environment (trust: test_trust.py)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sending import MESSAGE, WAYS, Send, envelope

from smtpsend import Method, Password, Policy, Server
from smtpsend.errors import ConfigError


ALL = Policy().methods
STARTTLS, IMPLICIT = (Method(587, "starttls"),), (Method(465, "implicit"),)

URLS: dict[str, tuple[str, Password | None, tuple[Method, ...]]] = {
    "smtp://h.example": ("h.example", None, ALL),
    "smtp://h.example/": ("h.example", None, ALL),
    "SMTP://H.Example": ("h.example", None, ALL),
    "smtp://h.example.": ("h.example.", None, ALL),
    "smtp://h.example:587": ("h.example", None, STARTTLS),
    "smtp://h.example:465": ("h.example", None, IMPLICIT),
    "smtp://h.example:2465": ("h.example", None, (Method(2465, "implicit"),)),
    "smtp://h.example:8465": ("h.example", None, (Method(8465, "implicit"),)),
    "smtp://h.example:443": ("h.example", None, (Method(443, "implicit"),)),
    "smtp://h.example:2587": ("h.example", None, (Method(2587, "starttls"),)),
    "smtp://h.example:2465?security=starttls": (
        "h.example",
        None,
        (Method(2465, "starttls"),),
    ),
    "smtp://h.example:25": ("h.example", None, (Method(25, "starttls"),)),
    "smtps://h.example": ("h.example", None, IMPLICIT),
    "smtps://h.example:587": ("h.example", None, (Method(587, "implicit"),)),
    "smtp://u:p@h.example": ("h.example", Password("u", "p"), ALL),
    "smtps://u%40x:p%3A%2F%25@h": ("h", Password("u@x", "p:/%"), IMPLICIT),
    "smtp://u:a:b@h": ("h", Password("u", "a:b"), ALL),
    "smtp://u+x:p+y@h": ("h", Password("u+x", "p+y"), ALL),
    "smtp://%C3%BC:%E2%82%AC@h": ("h", Password("ü", "€"), ALL),
    "smtp://ü:€@h": ("h", Password("ü", "€"), ALL),
    "smtp://127.0.0.1": ("127.0.0.1", None, ALL),
    "smtp://[::1]": ("::1", None, ALL),
    "smtp://[2001:DB8::1]:465": ("2001:db8::1", None, IMPLICIT),
    "smtp://müller.example": ("xn--mller-kva.example", None, ALL),
}


@pytest.mark.parametrize("url", URLS)
def test_urls(url: str) -> None:
    """What a URL means: host, credentials, and the whole policy or one method."""
    server = Server.from_url(url)
    assert (server.host, server.auth, server.policy.methods) == URLS[url]
    assert server.policy == dataclasses.replace(Policy(), methods=URLS[url][2])


def test_options() -> None:
    """A port pins one method of the policy that is given, and the rest of it stays."""
    policy = Policy(reply_timeout=7, methods=(Method(26, "starttls"),))
    assert Server.from_url("smtp://h", policy=policy).policy is policy
    pinned = Server.from_url("smtp://h:465", policy=policy, ehlo_name="me.example")
    assert pinned.policy == dataclasses.replace(policy, methods=IMPLICIT)
    assert pinned.ehlo_name == "me.example"


REFUSED = """http://h h.example:587 smtp:h //h smtp:// smtp://: smtp://:587 smtp://h: smtp://@h
smtp://u@h smtp://u:@h smtp://:p@h smtp://u:p@ smtp://h:0 smtp://h:65536 smtp://h:-1
smtp://h:x smtp://h:5\u0668 smtp://h/x smtp://h?a=b smtp://h#f smtp://h? smtp://h# smtp://u:%@h
smtp://u:%zz@h smtp://u:%00@h smtp://u:%0d%0aX@h smtp://u:%ff@h smtp://[::1
smtp://[h] smtp://[1.2.3.4] smtp://::1 smtp://a..b smtp://-a smtp://a_%62 smtp://a%2eb smtp://a,b
smtp://1.2.3 smtp://127.1 smtp://0x7f.1 smtp://a..b smtp://[::1]x smtp://x[::1]
smtp://[::1].x:25 smtp://u:p@h[::1] smtp://h\\x smtp://*.x
smtp+starttls://h smtp://\u2100.x smtp://a\u3002.b"""


@pytest.mark.parametrize(
    "url", [*REFUSED.split(), "", "smtp://h\n", " smtp://h", "smtp://a b"]
)
def test_refused_urls(url: str) -> None:
    """What is no such URL is refused, and never half understood."""
    with pytest.raises(ConfigError):
        Server.from_url(url)


@pytest.mark.parametrize(
    "server", [None, b"h", 1, Policy(), {"h"}, "", "u:p@h", "h:25", "a b"]
)
@pytest.mark.parametrize("send", WAYS)
def test_no_server(server: Any, send: Send) -> None:
    """What is no server is a ConfigError, before any network."""
    with pytest.raises(ConfigError):
        send(MESSAGE, server, **envelope())


HOSTS = {
    "h.example": "h.example",
    "h.example.": "h.example.",
    "_smtp.h_1": "_smtp.h_1",
    "[::1]": "::1",
    "0:0:0:0:0:0:0:1": "::1",
    "faß.example": "xn--fa-hia.example",
    "müller.example.": "xn--mller-kva.example.",
}


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(host: str) -> None:
    """A host is a name or an address, in the form that DNS and TLS know."""
    assert Server(host).host == HOSTS[host]


BAD_HOSTS = [
    "",
    "a\n",
    "a\0b",
    "a b",
    "a..b",
    ".a",
    "a-",
    "-a",
    "1.2.3",
    "[a]",
    "a/b",
    "a@b",
]
BAD_HOSTS += [
    "a" * 64,
    ".".join(["a" * 63] * 5),
    "a:25",
    "\ud800.x",
    "a\u2028b",
    "*.x",
    "%",
]


@pytest.mark.parametrize("host", BAD_HOSTS, ids=ascii)
def test_bad_hosts(host: str) -> None:
    """No host name can add a command, a header or a look-up of something else."""
    with pytest.raises(ConfigError):
        Server(host)


ENVIRONS: list[tuple[dict[str, str], Server | None]] = [
    (
        {"URL": "smtp://u:p@h:465"},
        Server("h", Password("u", "p"), policy=Policy(methods=IMPLICIT)),
    ),
    ({"HOST": "h"}, Server("h")),
    (
        {"HOST": "h", "USERNAME": "u", "PASSWORD": " p "},
        Server("h", Password("u", " p ")),
    ),
    (
        {"HOST": "h", "USERNAME": "u", "PASSWORD_FILE": "FILE"},
        Server("h", Password("u", "p w")),
    ),
    ({"HOST": "h", "USERNAME": "", "PASSWORD": ""}, Server("h")),
    ({}, None),
    ({"URL": ""}, None),
    ({"USERNAME": "u", "PASSWORD": "s3cret"}, None),
    ({"URL": "smtp://h", "HOST": "h"}, None),
    ({"URL": "smtp://h", "PASSWORD": "s3cret"}, None),
    ({"HOST": "h", "USERNAME": "u"}, None),
    ({"HOST": "h", "PASSWORD": "s3cret"}, None),
    ({"HOST": "h", "USERNAME": "u", "PASSWORD": "s3cret", "PASSWORD_FILE": "FILE"}, None),
    ({"HOST": "h", "USERNAME": "u", "PASSWORD_FILE": "/no/such/s3cret"}, None),
    ({"HOST": "h", "USERNAME": "u", "PASSWORD_FILE": "/"}, None),
    ({"HOST": "h", "USERNAME": "u", "PASSWORD_FILE": "/etc\0"}, None),
    ({"HOST": "h", "USERNAME": "u", "PASSWORD": "s3cret\n"}, None),
    ({"HOST": "smtp://u:s3cret@h"}, None),
    ({"HOST": "h:587"}, None),
]


@pytest.mark.parametrize(("environ", "server"), ENVIRONS)
def test_environ(
    environ: dict[str, str], server: Server | None, tmp_path: Path, monkeypatch: Any
) -> None:
    """What the environment means; what is incomplete or contradicts itself is refused."""
    for end in ("", "\n", "\r\n"):
        file = tmp_path / "password"
        file.write_bytes(f"p w{end}".encode())
        given = {f"SMTP_{k}": v.replace("FILE", str(file)) for k, v in environ.items()}
        if server is None:
            with pytest.raises(ConfigError) as caught:
                Server.from_env(given)
            assert "s3cret" not in str(caught.value).replace("/no/such/s3cret", "")
            continue
        assert Server.from_env(given) == server
        monkeypatch.setattr(os, "environ", given)
        assert Server.from_env() == server


def test_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes from the environment unless it is asked for."""
    for name in ("URL", "HOST", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"SMTP_{name}", "x")
    assert Server("h") == Server.from_url("smtp://h")


TEXT = st.text(
    st.one_of(st.characters(), st.sampled_from(":/?#[]@%.\\ \n\r\0é€ß")), max_size=30
)


@settings(deadline=None)  # a busy machine is no failure
@given(TEXT, TEXT, TEXT)
def test_any_url(before: str, secret: str, after: str) -> None:
    """Any text is a Server or a ConfigError, which never quotes the secret."""
    for url in (before, f"smtp://{after}", f"smtp://{before}:s3cr3t{secret}@{after}"):
        seen = ""
        try:
            assert isinstance(Server.from_url(url), Server)
        except ConfigError as error:
            seen = f"{error} {error!r} {vars(error)}"
        assert "s3cr3t" not in seen


NAMES = st.sampled_from(["URL", "HOST", "USERNAME", "PASSWORD", "PASSWORD_FILE"])


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(NAMES, TEXT))
def test_any_environ(environ: dict[str, str]) -> None:
    """Any environment is a Server or a ConfigError, which never quotes the password."""
    environ = {f"SMTP_{name}": value for name, value in environ.items()}
    if "SMTP_PASSWORD" in environ:
        environ["SMTP_PASSWORD"] += "s3cr3t"
    seen = ""
    try:
        assert isinstance(Server.from_env(environ), Server)
    except ConfigError as error:
        seen = f"{error} {error!r} {vars(error)}"
    assert "s3cr3t" not in seen


def test_a_port_in_place_of_the_login() -> None:
    """As `smtplib.SMTP(host, port)` has it: the hint says where the port goes."""
    with pytest.raises(ConfigError, match="auth must be a pair") as caught:
        Server("mail.example.org", 587)  # type: ignore[arg-type]
    assert "policy=Policy(methods=" in caught.value.hint
    with pytest.raises(ConfigError, match="auth must be a pair") as caught:
        Server("mail.example.org", "secret")  # type: ignore[arg-type]
    assert not caught.value.hint
