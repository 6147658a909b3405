"""Short texts that a newcomer reads: of settings, receipts, reports and commands."""

from __future__ import annotations

import pytest
from scripted import ScriptedServer
from sending import MESSAGE, envelope, server_for

from smtpsend import ConfigError, Server, compose, diagnose, send
from smtpsend.cli import main
from smtpsend.cli.send import show_receipt
from smtpsend.cli.terminal.screen import Screen
from smtpsend.testing import capture, local_server


@pytest.mark.parametrize("mark", ["'", '"'])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_URL", "smtp://ann%40example.org:s3cret@h.example"),
        ("SMTP_HOST", "h.example"),
    ],
)
def test_quotation_marks(mark: str, name: str, value: str) -> None:
    """A value with the quotation marks of its .env file is named as that."""
    with pytest.raises(ConfigError) as caught:
        Server.from_env({name: f"{mark}{value}{mark}"})
    assert "quotation marks" in caught.value.hint
    assert "s3cret" not in str(caught.value)


def test_how_to_encode() -> None:
    """The errors of a password in a URL say what encodes it."""
    for url in ("smtp://u:p@ss/w:rd@h.example", "smtp://u:100%@h.example"):
        with pytest.raises(ConfigError, match=r"urllib\.parse\.quote"):
            Server.from_url(url)


def test_a_receipt_is_a_line() -> None:
    """`str` of a receipt is a line about what was accepted, and its repr has it all."""
    message = compose(sender="ann@example.org", to=["bob@example.net", "eve@example.net"])
    with capture() as box:
        receipt = send(message, "h.example")
        box.refuse("eve@example.net")
        partly = send(message, "h.example")
    assert str(receipt).startswith(f"accepted {receipt.message_id} for 2 recipient(s) by")
    assert "1 refused" in str(partly)
    assert "elapsed=" in repr(receipt)


def test_a_report_is_its_verdict_and_its_advice() -> None:
    """`str` of a report is what a person reads first."""
    with local_server() as local:
        report = diagnose(local.server())
    assert str(report).splitlines()[0] == report.verdict
    assert len(str(report).splitlines()) == 1 + len(report.advice)


def test_what_failed_before(capsys: pytest.CaptureFixture[str]) -> None:
    """What `smtpsend send` prints of a message names the methods that failed before."""
    with ScriptedServer(starttls="refused", starttls2=None) as scripted:
        server = server_for(scripted)
        receipt = send(MESSAGE, server, **envelope())
    show_receipt(receipt, server, Screen())
    lines = capsys.readouterr().out.splitlines()
    (before,) = [line for line in lines if line.startswith("  before")]
    assert f"{scripted.port('starttls')} STARTTLS: no connection" in before


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command, `smtpsend` names its commands."""
    assert main([]) == 64
    assert (
        "check, send, send-many, login, explain, providers or demo"
        in capsys.readouterr().err
    )
