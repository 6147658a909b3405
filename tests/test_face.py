"""What the public names do beyond sending: pairs, results, aliases, other event loops."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trio

import smtpsend
import smtpsend.check
import smtpsend.prepared
from smtpsend import ConfigError, Outcome, Password, SendError, Server
from smtpsend.testing import capture


MESSAGE = smtpsend.compose(
    sender="ann@example.org", to="bob@example.net", subject="Hello", text="It works."
)


@pytest.mark.parametrize("pair", [("ann", "secret"), ["ann", "secret"]])
def test_a_pair_is_a_password(pair: Any) -> None:
    """A plain pair of user name and password is a `Password`."""
    server = Server("mail.example.org", pair)
    assert server.auth == Password("ann", "secret")
    assert "secret" not in repr(server)
    assert pickle.loads(pickle.dumps(server)) == server


@pytest.mark.parametrize("auth", ["ann", ("ann",), ("ann", "b", "c"), {"ann": "b"}, 1])
def test_what_is_no_pair(auth: Any) -> None:
    """Anything else is refused, without its text."""
    with pytest.raises(ConfigError, match=r"a pair \(username, password\)") as caught:
        Server("mail.example.org", auth)
    assert "ann" not in str(caught.value)


def test_a_pair_is_checked() -> None:
    """A pair has the rules of `Password`."""
    with pytest.raises(ConfigError, match="empty"):
        Server("mail.example.org", ("ann", ""))


def test_the_result_of_an_outcome() -> None:
    """`result` gives the receipt, or raises the error, as often as it is called."""
    with capture(), smtpsend.Client("mail.example.org") as client:
        outcomes = client.send_many([MESSAGE, "no message"])
        good, bad = sorted(outcomes, key=lambda outcome: outcome.index)
    assert good.result() is good.receipt
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            bad.result()
        assert str(caught.value) == str(bad.error)
    assert bad.error is not None
    assert bad.error.__traceback__ is None
    with pytest.raises(SendError):
        Outcome(0, None, None, None).result()


def test_the_modules_are_aliases() -> None:
    """The modules of the first release name the functions that stand at the top now."""
    assert smtpsend.check.check is smtpsend.diagnose
    assert smtpsend.check.check_async is smtpsend.diagnose_async
    assert smtpsend.prepared.prepare is smtpsend.prepare
    assert smtpsend.prepared.Prepared is smtpsend.Prepared


CALLS: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "send_async": lambda: smtpsend.send_async(MESSAGE, "mail.example.org"),
    "send": lambda: smtpsend.AsyncClient("mail.example.org").send(MESSAGE),
    "check": lambda: smtpsend.AsyncClient("mail.example.org").check(),
    "aclose": lambda: smtpsend.AsyncClient("mail.example.org").aclose(),
    "send_many": lambda: anext(  # type: ignore[dict-item]  # an awaitable all the same
        smtpsend.AsyncClient("mail.example.org").send_many([MESSAGE])
    ),
    "diagnose_async": lambda: smtpsend.diagnose_async("mail.example.org"),
}


@pytest.mark.parametrize("name", CALLS)
def test_outside_asyncio(name: str) -> None:
    """Under another event loop a coroutine of the library says what to do."""

    async def main() -> None:
        await CALLS[name]()

    with pytest.raises(ConfigError, match=r"no asyncio event loop.*to_thread"):
        trio.run(main)


def test_under_trio_in_a_thread() -> None:
    """The way that the error names works."""
    with capture() as outbox:
        trio.run(
            lambda: trio.to_thread.run_sync(
                lambda: smtpsend.send(MESSAGE, "mail.example.org")
            )
        )
    assert len(outbox) == 1


CHECKER = """
import smtpsend
smtpsend.nosuch
try:
    smtpsend.send
except smtpsend.ConfigEror:
    pass
"""


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_misspelt_name(checker: str, tmp_path: Path) -> None:
    """A name that does not exist is an error for type checkers, too."""
    path = tmp_path / "misspelt.py"
    path.write_text(CHECKER, "utf-8")
    found = subprocess.run(
        [sys.executable, "-m", checker, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1, found.stderr
    assert '"nosuch"' in found.stdout
    assert '"ConfigEror"' in found.stdout
