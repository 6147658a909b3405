"""SMTP_PORT, and names of variables that other programs read."""

from __future__ import annotations

import logging

import pytest

from smtpsend import Method, Server
from smtpsend.cli import main
from smtpsend.cli.exits import Exit
from smtpsend.errors import ConfigError


OURS = {
    "SMTP_HOST": "mail.example.org",
    "SMTP_USERNAME": "ann",
    "SMTP_PASSWORD": "s3cret-Pa55",
}


@pytest.mark.parametrize(
    ("port", "security", "method"),
    [
        ("465", "", Method(465, "implicit")),
        ("587", "", Method(587, "starttls")),
        ("25", "", Method(25, "starttls")),
        ("2525", "", Method(2525, "starttls")),
        ("2465", "", Method(2465, "implicit")),
        (" 587\n", "", Method(587, "starttls")),
        ("587", "implicit", Method(587, "implicit")),
        ("465", "starttls", Method(465, "starttls")),
        ("", "implicit", Method(465, "implicit")),
    ],
)
def test_port(port: str, security: str, method: Method) -> None:
    """SMTP_PORT is one method; its security is the usual one, or SMTP_SECURITY."""
    env = {**OURS, "SMTP_PORT": port, "SMTP_SECURITY": security}
    assert Server.from_env(env).policy.methods == (method,)


def test_port_of_a_sink() -> None:
    """A development sink may be on any port."""
    env = {"SMTP_HOST": "localhost", "SMTP_PORT": "1026", "SMTP_SECURITY": "plaintext"}
    assert Server.from_env(env).policy.methods == (Method(1026, "plaintext"),)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "587x", "smtp", "५८७", "9" * 5000])
def test_no_port(port: str) -> None:
    """What is no port is refused."""
    with pytest.raises(ConfigError, match="SMTP_PORT must be a port"):
        Server.from_env({**OURS, "SMTP_PORT": port})


def test_port_beside_a_url() -> None:
    """A URL has its port in it."""
    with pytest.raises(ConfigError, match="SMTP_URL cannot go with SMTP_PORT"):
        Server.from_env({"SMTP_URL": "smtp://mail.example.org", "SMTP_PORT": "587"})


HABITS = {
    "SMTP_USER": "SMTP_USERNAME",
    "SMTP_LOGIN": "SMTP_USERNAME",
    "SMTP_USER_NAME": "SMTP_USERNAME",
    "SMTP_USRNAME": "SMTP_USERNAME",
    "SMTP_PASS": "SMTP_PASSWORD",
    "SMTP_PWD": "SMTP_PASSWORD",
    "SMTP_PASSWD": "SMTP_PASSWORD",
    "SMTP_PASWORD": "SMTP_PASSWORD",
    "SMTP_PASS_FILE": "SMTP_PASSWORD_FILE",
    "SMTP_PASSWORDFILE": "SMTP_PASSWORD_FILE",
    "SMTP_SERVER": "SMTP_HOST",
    "SMTP_HOSTNAME": "SMTP_HOST",
    "SMTP_SERVER_PORT": "SMTP_PORT",
    "SMTP_TLS": "SMTP_SECURITY",
    "SMTP_USE_SSL": "SMTP_SECURITY",
    "SMTP_STARTTLS": "SMTP_SECURITY",
    "SMTP_SECURE": "SMTP_SECURITY",
    "SMTP_ENCRYPTION": "SMTP_SECURITY",
    "SMTP_URI": "SMTP_URL",
    "smtp_host": "SMTP_HOST",
    "Smtp_User": "SMTP_USERNAME",
}
BESIDE: list[dict[str, str]] = [{}, OURS, {"SMTP_URL": "smtp://mail.example.org"}]


@pytest.mark.parametrize("name", HABITS)
@pytest.mark.parametrize("others", BESIDE, ids=["alone", "beside ours", "beside a URL"])
def test_habits(name: str, others: dict[str, str]) -> None:
    """A name of another program is refused, alone or beside ours, and ours is named."""
    with pytest.raises(ConfigError) as caught:
        Server.from_env({**others, name: "s3cret-value"})
    assert f"{name} is set, and is not read" in caught.value.message
    assert caught.value.message.endswith(f" {HABITS[name]}")
    assert "s3cret" not in str(caught.value)


FRAMEWORKS = {
    "EMAIL_HOST": "SMTP_HOST",
    "MAIL_HOST": "SMTP_HOST",
    "MAIL_SERVER": "SMTP_HOST",
    "EMAIL_URL": "SMTP_URL",
    "MAILER_DSN": "SMTP_URL",
    "DJANGO_EMAIL_HOST": "SMTP_HOST",
}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_other_frameworks(name: str) -> None:
    """Where no server is set, one of another framework is named; else it is not."""
    value = "s3cret.example.org"
    with pytest.raises(ConfigError, match="none of") as caught:
        Server.from_env({"MAIL_FROM": "a@example.org", name: value})
    assert caught.value.hint == (
        f"{name} is set, and is not read: set {FRAMEWORKS[name]} in place of it"
    )
    assert Server.from_env({**OURS, name: value}).host == OURS["SMTP_HOST"]
    with pytest.raises(ConfigError, match="none of") as caught:
        Server.from_env({"MAIL_FROM": "a@example.org", "HOST": "x", name: ""})
    assert caught.value.hint.startswith("set SMTP_HOST")


@pytest.mark.parametrize("name", HABITS)
def test_commands(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands name the right one, too, for the server and for its password."""
    monkeypatch.setenv(name, "s3cret-value")
    assert main(["check"]) == Exit.CONFIG
    assert main(["check", "localhost", "--user", "ann"]) == Exit.CONFIG
    shown = capsys.readouterr().err
    assert shown.count(f"the name is {HABITS[name]}") == 2
    assert "s3cret" not in shown


def test_empty_ones() -> None:
    """A variable that is empty counts as missing, whatever its name."""
    assert Server.from_env({**OURS, "SMTP_USER": "", "SMTP_PORT": ""}).auth is not None


FOREIGN = ["SMTP_FROM", "SMTP_SENDER", "SMTP_DOMAIN", "SMTP_TIMEOUT", "SMTP_REPLY_TO"]


@pytest.mark.parametrize("name", FOREIGN)
def test_settings_of_the_application(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """What may be a setting of the application is named in a warning, without value."""
    with caplog.at_level(logging.WARNING, "smtpsend"):
        Server.from_env({**OURS, name: "s3cret-value"})
    assert caplog.messages == [f"not read from the environment: {name}"]


KUBERNETES = {
    "SMTP_PORT": "tcp://10.0.0.1:587",
    "SMTP_SERVICE_HOST": "10.0.0.1",
    "SMTP_SERVICE_PORT": "587",
    "SMTP_SERVICE_PORT_SUBMISSION": "587",
    "SMTP_PORT_587_TCP": "tcp://10.0.0.1:587",
    "SMTP_PORT_587_TCP_ADDR": "10.0.0.1",
    "SMTP_PORT_587_TCP_PORT": "587",
    "SMTP_PORT_587_TCP_PROTO": "tcp",
}


def test_service_links(caplog: pytest.LogCaptureFixture) -> None:
    """What Kubernetes sets for a service that is called smtp is no setting."""
    assert Server.from_env({**KUBERNETES, **OURS}) == Server.from_env(OURS)
    assert not caplog.messages


def test_others(caplog: pytest.LogCaptureFixture) -> None:
    """Variables that do not begin with SMTP_ are nobody's business."""
    env = {
        **OURS,
        "MAIL_SERVER": "x",
        "SMTPD_USER": "x",
        "PATH": "x",
        "MY_SMTP_USER": "x",
    }
    assert Server.from_env(env) == Server.from_env(OURS)
    assert not caplog.messages
