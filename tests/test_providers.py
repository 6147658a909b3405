"""Providers by name: the data, `Server.at`, the environment, the command, and a send."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

import smtpsend
from smtpsend import (
    ConfigError,
    Method,
    OAuth2,
    Password,
    Policy,
    Server,
    compose,
    diagnose,
)
from smtpsend._model.server.host import check_host
from smtpsend._model.server.providers import provider_named, provider_of, providers
from smtpsend._wire import dial
from smtpsend.cli import main
from smtpsend.testing import capture


ROWS = list(providers().values())
REGION = "eu-west-1"


def host_of(row: Any) -> str:
    """A host of a provider, in some region where it needs one."""
    return str(row.host_in(REGION if "{region}" in row.host else None))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_each_row(row: Any) -> None:
    """Each row has host, ports, login, date and sources, and is found by its host."""
    assert check_host(host_of(row)) == host_of(row)
    assert provider_of(host_of(row)) is row
    assert row.methods
    assert not {method.port for method in row.methods} & {25, 143, 993}
    assert Policy(methods=row.methods).methods == row.methods
    assert row.login
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", row.as_of)
    assert row.sources
    assert all(re.fullmatch(r"https://[^\s()|]+", url) for url in row.sources)
    for region, host in row.regions.items():
        assert row.host_in(region) == check_host(host)
    for text in (row.name, row.login, *row.notes):
        assert not re.search(r"[|<>\n]|\.$", text)


def test_the_list() -> None:
    """There are many providers, in order; no name stands for two, no host for two."""
    keys = [row.key for row in ROWS]
    assert len(keys) >= 30
    assert keys == sorted(keys)
    names = [name for row in ROWS for name in (row.key, *row.aliases)]
    folded = [re.sub(r"\W|_", "", name).lower() for name in names]
    assert len(set(folded)) == len(folded)
    hosts = [row.host for row in ROWS]
    assert len(set(hosts)) == len(hosts)


def test_the_page_is_in_step() -> None:
    """The table in the documentation is that of the data."""
    path = Path(__file__).parent.parent / "docs" / "make_providers.py"
    spec = importlib.util.spec_from_file_location("make_providers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text("utf-8")
    assert module.filled(page) == page
    assert page.count("\n| `") == len(ROWS)


def test_they_cost_nothing_at_import() -> None:
    """Neither the import nor a server by its host reads the data."""
    code = (
        "import sys, smtpsend\n"
        "smtpsend.Server('mail.example.org', ('ann', 'secret'))\n"
        "smtpsend.Server.from_env({'SMTP_HOST': 'mail.example.org'})\n"
        "print([name for name in sys.modules if 'providers' in name])"
    )
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert found.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("ses", "ses"), ("SES", "ses"), ("Amazon SES", "ses"), ("amazon-ses", "ses")),
        *(("Microsoft_365", "microsoft365"), ("office365", "microsoft365")),
        *(("gmail.com", None), ("SendGrid", "sendgrid"), ("hotmail", "outlook")),
    ],
)
def test_names(name: str, key: str | None) -> None:
    """A name is found whatever its case, blanks and hyphens."""
    if key is None:
        with pytest.raises(ConfigError, match="not a known provider"):
            provider_named(name)
    else:
        assert provider_named(name).key == key


def test_server_at() -> None:
    """A server has the host and all ports of the provider, in order, and our options."""
    server = Server.at("smtp2go", ("ann", "secret"), ehlo_name="app.example.org")
    assert server == Server(
        "mail.smtp2go.com",
        Password("ann", "secret"),
        policy=Policy(methods=provider_named("smtp2go").methods),
        ehlo_name="app.example.org",
    )
    assert [str(method) for method in server.policy.methods] == [
        *("587 STARTTLS", "465 implicit TLS", "2525 STARTTLS", "8025 STARTTLS"),
        *("8465 implicit TLS", "80 STARTTLS", "443 implicit TLS"),
    ]
    assert Server.at("smtp2go", region="eu").host == "mail-eu.smtp2go.com"
    assert Server.at("ses", region=REGION).host == f"email-smtp.{REGION}.amazonaws.com"
    token = OAuth2("ann@example.org", "token")
    assert Server.at("microsoft365", token).auth is token


def test_policies() -> None:
    """Times of a policy are kept; so are its methods, if they are not the default."""
    timed = Server.at("ses", region=REGION, policy=Policy(stagger=1))
    assert timed.policy.stagger == 1
    assert Method(2465, "implicit") in timed.policy.methods
    own = Policy(methods=(Method(2587, "starttls"),))
    assert Server.at("ses", region=REGION, policy=own).policy == own


@pytest.mark.parametrize(
    ("name", "region", "words", "hint"),
    [
        ("zes", None, "not a known provider: 'zes'", "did you mean ses"),
        ("", None, "not a known provider", "smtpsend providers"),
        (None, None, "not a known provider", "smtpsend providers"),
        (5, None, "not a known provider", "smtpsend providers"),
        ("ses", None, "has a host in each region", "region="),
        ("ses", "", "not a region", "eu-west-1"),
        ("ses", "eu west", "not a region", "eu-west-1"),
        ("ses", "x.evil.example/", "not a region", "eu-west-1"),
        ("ses", "x" * 41, "not a region", "eu-west-1"),
        ("ses", 5, "not a region", "eu-west-1"),
        ("mailgun", "mars", "not a region of Mailgun: 'mars'", "us, eu"),
        ("resend", "eu", "not a region of Resend", "has no regions"),
    ],
)
def test_unknown(name: Any, region: Any, words: str, hint: str) -> None:
    """An unknown provider or region is refused, and the hint says what there is."""
    with pytest.raises(ConfigError, match=words) as caught:
        Server.at(name, region=region)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "name", ["smtp://ann:hunter2@h.example", "ann:hunter2", "hunter2!", "hunter2" * 9]
)
def test_what_may_be_a_secret_is_not_shown(name: str) -> None:
    """A URL or a password in the place of the name is not quoted."""
    with pytest.raises(ConfigError) as caught:
        Server.at(name)
    assert "hunter2" not in str(caught.value) + repr(caught.value)


LOGIN = {"SMTP_USERNAME": "ann", "SMTP_PASSWORD": "secret"}


def test_environment() -> None:
    """SMTP_PROVIDER and SMTP_REGION stand for `Server.at`, options included."""
    found = Server.from_env(
        {"SMTP_PROVIDER": "ses", "SMTP_REGION": REGION, **LOGIN}, cafile="ca.pem"
    )
    assert found == Server.at("ses", ("ann", "secret"), region=REGION, cafile="ca.pem")
    assert Server.from_env({"SMTP_PROVIDER": "resend"}).auth is None
    empty = {"SMTP_PROVIDER": "", "SMTP_REGION": "", "SMTP_HOST": "h.example"}
    assert Server.from_env(empty) == Server("h.example")


def test_user_name_of_all_accounts() -> None:
    """Where all accounts have one user name, the password alone will do."""
    only = {"SMTP_PROVIDER": "sendgrid", "SMTP_PASSWORD": "secret"}
    assert Server.from_env(only).auth == Password("apikey", "secret")
    given = Server.from_env({"SMTP_PROVIDER": "sendgrid", **LOGIN})
    assert given.auth == Password("ann", "secret")
    with pytest.raises(ConfigError, match="SMTP_USERNAME"):
        Server.from_env({"SMTP_PROVIDER": "brevo", "SMTP_PASSWORD": "secret"})


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SMTP_HOST": "h.example", "SMTP_PROVIDER": "ses"}, "SMTP_HOST"),
        ({"SMTP_SECURITY": "starttls", "SMTP_PROVIDER": "resend"}, "SMTP_SECURITY"),
        ({"SMTP_URL": "smtp://h.example", "SMTP_PROVIDER": "ses"}, "SMTP_PROVIDER"),
        ({"SMTP_URL": "smtp://h.example", "SMTP_REGION": "eu"}, "SMTP_REGION"),
        ({"SMTP_HOST": "h.example", "SMTP_REGION": "eu"}, "SMTP_REGION"),
        ({"SMTP_REGION": "eu"}, "SMTP_REGION"),
        ({"SMTP_PROVIDER": "ses"}, "region"),
        ({"SMTP_PROVIDER": "nobody"}, "not a known provider"),
        ({}, "none of SMTP_URL, SMTP_HOST and SMTP_PROVIDER"),
    ],
)
def test_contradicting_variables(variables: dict[str, str], words: str) -> None:
    """Variables that contradict each other are refused by their names."""
    with pytest.raises(ConfigError, match=words):
        Server.from_env(variables)


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("smtp.gmail.com", "gmail"),
        ("SMTP.Gmail.COM.", "gmail"),
        ("email-smtp.us-east-1.amazonaws.com", "ses"),
        ("smtp.email.eu-frankfurt-1.oci.oraclecloud.com", "oracle"),
        ("mail-eu2.smtp2go.com", "smtp2go"),
        ("smtp.zoho.jp", "zoho"),
        ("email-smtp.a.b.amazonaws.com", None),
        ("email-smtpxus-east-1.amazonaws.com", None),
        ("smtp.gmail.com.evil.example", None),
        ("mail.example.org", None),
        ("192.0.2.1", None),
    ],
)
def test_recognised(host: str, key: str | None) -> None:
    """A provider is recognised by its exact hosts, and reports name it."""
    found = provider_of(host)
    assert (None if found is None else found.key) == key
    with capture():
        assert diagnose(host).provider == key


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The command lists all providers, each on a line of its own."""
    assert main(["providers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line[0] != " "} == {*providers()}


def test_command_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    """For one provider the command shows everything; JSON holds the same."""
    assert main(["providers", "SendGrid"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    row = provider_named("sendgrid")
    for fact in (row.name, row.host, row.login, *row.sources, "2525 STARTTLS"):
        assert fact in text
    assert main(["providers", "sendgrid", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["providers"]
    assert (found["key"], found["username"]) == ("sendgrid", "apikey")
    assert {"port": 465, "security": "implicit"} in found["methods"]


def test_command_for_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name ends the command with an error."""
    assert main(["providers", "nobody"]) == 78
    error = capsys.readouterr().err
    assert "not a known provider" in error
    assert "`smtpsend providers` lists them" in error


def test_command_for_a_host(capsys: pytest.CaptureFixture[str]) -> None:
    """The command knows a provider by its host, in any case, as `check` does."""
    for host in ("smtp.gmail.com", "SMTP.Gmail.com."):
        assert main(["providers", host, "--json"]) == 0
        [found] = json.loads(capsys.readouterr().out)["providers"]
        assert found["key"] == "gmail"


def test_check_names_the_provider(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`smtpsend check` shows whose host it is, and accepts the environment."""
    monkeypatch.setenv("SMTP_PROVIDER", "resend")
    with capture():
        assert main(["check"]) == 0
    assert capsys.readouterr().out.splitlines()[1].strip() == "Resend"


def test_only_443_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing but 443 is open, a mail leaves to a provider that has it."""
    pytest.importorskip("aiosmtpd")
    from smtpsend.testing.server import LocalServer

    host = "mail.smtp2go.com"
    issue = trustme.CA.issue_cert
    monkeypatch.setattr(
        trustme.CA, "issue_cert", lambda ca, *names: issue(ca, *names, host)
    )
    tried: list[int] = []
    connect = dial._connect
    with LocalServer() as local:

        async def only_443(family: Any, address: Any) -> Any:
            tried.append(address[1])
            if address[1] != 443:
                await asyncio.Event().wait()  # the network drops it
            return await connect(family, ("127.0.0.1", local.port("implicit")))

        monkeypatch.setattr(dial, "_connect", only_443)
        server = Server.at(
            "smtp2go",
            (local.username, local.password),
            policy=Policy(stagger=0.01),
            cafile=local.cafile,
        )
        message = compose(sender="ann@example.org", to="bob@example.net", text="x")
        monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: ADDRESS)
        receipt = smtpsend.send(message, server)
        assert len(local.messages) == 1
    assert receipt.method == Method(443, "implicit")
    assert tried == [587, 465, 2525, 8025, 8465, 80, 443]


ADDRESS = [(2, 1, 6, "", ("127.0.0.1", 0))]
