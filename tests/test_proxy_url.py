"""What may be given as proxy=, source_address= and tls_name=, and what errors show."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from frames import nothing_of, texts

from smtpsend import ConfigError, Method, Policy, Server
from smtpsend._model.server import proxy as module
from smtpsend._model.server.proxy import Proxy


HOST = "mail.example.org"
SECRET = "s3cret-of-the-proxy"
ONE_METHOD = Policy(methods=(Method(587, "starttls"),))
SINK = Policy(methods=(Method(1025, "plaintext"),))

GOOD = {
    "socks5://proxy.example": Proxy("socks5", "proxy.example", 1080),
    "socks5h://proxy.example:9050/": Proxy("socks5", "proxy.example", 9050),
    "SOCKS5://10.0.0.1:1": Proxy("socks5", "10.0.0.1", 1),
    "http://proxy.example:3128": Proxy("http", "proxy.example", 3128),
    "http://[2001:db8::1]:8080": Proxy("http", "2001:db8::1", 8080),
    "http://ann:p%40ss%2Fw%3Aord@proxy.example:80": Proxy(
        "http", "proxy.example", 80, "ann", "p@ss/w:ord"
    ),
    "http://ann:@proxy.example:80": Proxy("http", "proxy.example", 80, "ann", ""),
    "http://ann@proxy.example:80": Proxy("http", "proxy.example", 80, "ann", ""),
    "http://b%C3%B6b:p%C3%A4ss@proxy.example:80": Proxy(
        "http", "proxy.example", 80, "b\xf6b", "p\xe4ss"
    ),
    "socks5://ann@example.org:secret@proxy.example": Proxy(
        "socks5", "proxy.example", 1080, "ann@example.org", "secret"
    ),
}


@pytest.mark.parametrize("url", GOOD)
def test_urls(url: str) -> None:
    """A URL reads back as a `Proxy`, which shows no login, and stays itself."""
    server = Server(HOST, proxy=url)
    assert server.proxy == GOOD[url]
    assert replace(server, host="mail.example.net").proxy == GOOD[url]
    assert pickle.loads(pickle.dumps(server)) == server
    login = "***@" if GOOD[url].username else ""
    assert str(server.proxy).partition("://")[2].startswith(login + GOOD[url].where[:3])
    assert str(server.proxy) in repr(server)
    assert "secret" not in repr(server)
    assert Server.from_url(f"smtp://{HOST}", proxy=url).proxy == GOOD[url]


BAD = {
    f"https://ann:{SECRET}@proxy.example:443": "https://",
    f"ftp://ann:{SECRET}@proxy.example:21": "begin with socks5:// or http://",
    f"socks4://ann:{SECRET}@proxy.example:1080": "begin with",
    f"ann:{SECRET}@proxy.example:1080": "begin with",
    "proxy.example:3128": "begin with",
    "": "begin with",
    f"http://ann:{SECRET}@proxy.example": "needs a port",
    f"http://ann:{SECRET}@proxy.example:99999": "not of the form",
    f"http://ann:{SECRET}@proxy.example:0": "not of the form",
    f"http://ann:{SECRET}@proxy.example:80/path": "not of the form",
    f"http://ann:{SECRET}@proxy.example:80?x=1": "not of the form",
    f"http://ann:{SECRET}@proxy.example:80#x": "not of the form",
    f"http://ann:{SECRET}@:80": "not of the form",
    f"http://ann:{SECRET}@[::1:80": "not of the form",
    f"http://ann:{SECRET}@prox%y.example:80": "proxy: the host is not",
    f"http://ann:{SECRET}@proxy.example:80\n": "control character",
    f"http://ann:{SECRET}\ud800@proxy.example:80": "surrogate",
    f"'http://ann:{SECRET}@proxy.example:80'": "begin with",
    f"http://ann:%zz{SECRET}@proxy.example:80": "%25",
    f"http://ann:%ff{SECRET}@proxy.example:80": "UTF-8",
    f"http://ann:%0A{SECRET}@proxy.example:80": "control character",
    f"http://:{SECRET}@proxy.example:80": "no user",
    f"http://a%3Ann:{SECRET}@proxy.example:80": "colon",
    f"socks5://ann:%C3%A4{SECRET}@proxy.example:80": "ASCII",
    f"socks5://{SECRET}@proxy.example:80": "both be given",
    f"socks5://ann:{SECRET * 20}@proxy.example:80": "255",
}


@pytest.mark.parametrize("url", BAD, ids=list(BAD.values()))
def test_bad_urls(url: str) -> None:
    """Another URL is refused before anything is connected, and is not quoted."""
    for make in (
        lambda: Server(HOST, proxy=url),
        lambda: Server.from_env({"SMTP_HOST": HOST, "SMTP_PROXY": url or "x"}),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        if url:
            assert BAD[url] in str(caught.value)
        nothing_of(SECRET, caught.value)
        assert "ann" not in texts(caught.value)


@pytest.mark.parametrize("given", [1, ["http://a:1"], b"http://a:1", ("a", 1)])
def test_no_url(given: Any) -> None:
    """A proxy is the URL of one."""
    with pytest.raises(ConfigError, match="must be the URL"):
        Server(HOST, proxy=given)


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_without_the_extra(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of the extra, the error names it, before any connection."""
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        Server(HOST, proxy=f"{scheme}://ann:{SECRET}@proxy.example:80")
    assert "smtpsend[proxy]" in caught.value.hint
    nothing_of(SECRET, caught.value)


LOGIN = {"SMTP_USERNAME": "ann", "SMTP_PASSWORD": "secret"}


@pytest.mark.parametrize(
    "variables",
    [
        {"SMTP_URL": f"smtp://{HOST}"},
        {"SMTP_HOST": HOST, **LOGIN},
        {"SMTP_PROVIDER": "resend"},
        {"SMTP_HOST": HOST, "SMTP_USERNAME": "ann", "SMTP_OAUTH_TOKEN": "token"},
    ],
)
def test_environment(variables: dict[str, str]) -> None:
    """SMTP_PROXY stands beside all others; the variables for the web are not read."""
    pytest.importorskip("authlib")
    url = "socks5://proxy.example:1080"
    web = {
        "HTTPS_PROXY": "http://web:1",
        "ALL_PROXY": "socks5://web:1",
        "https_proxy": "x",
    }
    assert Server.from_env({**variables, **web}).proxy is None
    assert Server.from_env({**variables, **web, "SMTP_PROXY": ""}).proxy is None
    found = Server.from_env({**variables, **web, "SMTP_PROXY": url})
    assert found.proxy == GOOD["socks5://proxy.example"]
    given = Server.from_env({**variables, "SMTP_PROXY": url}, proxy="http://other:1")
    assert given.proxy == Proxy("http", "other", 1)


def test_the_error_names_the_variable() -> None:
    """An unusable SMTP_PROXY is an error that names it, and shows nothing of it."""
    with pytest.raises(ConfigError, match=r"^SMTP_PROXY: proxy must begin") as caught:
        Server.from_env({"SMTP_HOST": HOST, "SMTP_PROXY": "s3cret.example:1080"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["SMTP_PROXY_URL", "SMTP_HTTPS_PROXY", "SMTP_SOCKS_PROXY"]
)
def test_other_variables(name: str) -> None:
    """A variable that can only be meant as SMTP_PROXY is an error that names it."""
    with pytest.raises(ConfigError, match="SMTP_PROXY"):
        Server.from_env({"SMTP_HOST": HOST, name: f"socks5://ann:{SECRET}@x:1"})


SOURCES: dict[str, tuple[Any, Any]] = {
    "an address": ("192.0.2.1", ("192.0.2.1", 0)),
    "a pair": (("192.0.2.1", 0), ("192.0.2.1", 0)),
    "a list": (["192.0.2.1", 0], ("192.0.2.1", 0)),
    "IPv6": ("2001:DB8::0:1", ("2001:db8::1", 0)),
    "IPv6 in brackets": ("[2001:db8::1]", ("2001:db8::1", 0)),
    "a port": (("192.0.2.1", 2000), ("192.0.2.1", 2000)),
    "a port of any address": (("", 2000), ("", 2000)),
    "any": (("", 0), None),
    "nothing": ("", None),
    "None": (None, None),
}


@pytest.mark.parametrize("case", SOURCES)
def test_source_addresses(case: str) -> None:
    """A source address reads back as a pair, or as None for any."""
    given, found = SOURCES[case]
    server = Server(HOST, policy=ONE_METHOD, source_address=given)
    assert server.source_address == found
    assert replace(server, host="mail.example.net").source_address == found


@pytest.mark.parametrize(
    "given",
    ["localhost", "192.0.2.1:25", "fe80::1%eth0", 1, (), ("192.0.2.1",), (1, 2), "x\n"]
    + [("192.0.2.1", port) for port in (-1, 65536, "25", None, True, 1.0)],
)
def test_bad_source_addresses(given: Any) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ConfigError):
        Server(HOST, policy=ONE_METHOD, source_address=given)


def test_a_source_port_of_several_methods() -> None:
    """A source port needs a policy of one method, since several start from it."""
    with pytest.raises(ConfigError, match="one method"):
        Server(HOST, source_address=("", 2000))


@pytest.mark.parametrize(
    ("given", "found"),
    [("tls.example.org", "tls.example.org"), ("192.0.2.1", "192.0.2.1"), (None, None)],
)
def test_tls_names(given: Any, found: Any) -> None:
    """A TLS name is a host name or an IP address."""
    assert Server(HOST, tls_name=given).tls_name == found


@pytest.mark.parametrize("given", ["", "a b", "x:25", "*.example.org", 1, "x\r\n"])
def test_bad_tls_names(given: Any) -> None:
    """Anything else is refused, a wildcard too."""
    with pytest.raises(ConfigError, match="tls_name"):
        Server(HOST, tls_name=given)


SINKS: dict[str, Callable[[], object]] = {
    "proxy": lambda: Server("127.0.0.1", policy=SINK, proxy="http://127.0.0.1:3128"),
    "tls_name": lambda: Server("127.0.0.1", policy=SINK, tls_name=HOST),
}


@pytest.mark.parametrize("name", SINKS)
def test_sinks(name: str) -> None:
    """A plaintext method goes through no proxy, and has no certificate to name."""
    with pytest.raises(ConfigError, match=name):
        SINKS[name]()
