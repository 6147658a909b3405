"""The local server in a program that turns warnings into errors, on every Python."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings

import pytest
from sending import MESSAGE, envelope, send_in_loop

from smtpsend import Policy
from smtpsend.testing import local_server


# aiosmtpd 1.4.6 imports typing.ByteString, for which Python 3.15 gives this warning.
# Every other Python, and a later aiosmtpd, is made to give it by a finder.
WARNS = """
import sys, warnings

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "aiosmtpd.proxy_protocol":
            warnings.warn(WARNING, CATEGORY)

sys.meta_path.insert(0, Finder)
before = [*warnings.filters]
"""
TEXT = (
    "'typing.ByteString' and 'collections.abc.ByteString' are deprecated and slated for "
    "removal in Python 3.17"
)
SENDS = """
import smtpsend
from smtpsend.testing import local_server

assert warnings.filters == before
with local_server() as local:
    note = smtpsend.compose(sender="a@example.org", to="b@example.net", text="Hello.")
    smtpsend.send(note, local.server())
    print(len(local.messages), warnings.filters == before)
"""


def run(category: str, text: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program under `-W error`, where that import gives that warning."""
    prelude = f"CATEGORY, WARNING = {category}, {text!r}\n{WARNS}"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + program],
        capture_output=True,
        text=True,
    )


def test_a_deprecated_import() -> None:
    """The server works where the import of aiosmtpd warns and warnings are errors."""
    ran = run("DeprecationWarning", TEXT, SENDS)
    assert (ran.stdout, ran.stderr) == ("1 True\n", "")


def test_without_the_guard() -> None:
    """An import of aiosmtpd by the program itself fails there: the warning is real."""
    ran = run("DeprecationWarning", TEXT, "import aiosmtpd.smtp")
    assert ran.stderr.rstrip().endswith(f"DeprecationWarning: {TEXT}")


@pytest.mark.parametrize(
    ("category", "text"),
    [
        ("DeprecationWarning", "'typing.Text' is deprecated"),
        ("RuntimeWarning", TEXT),
    ],
    ids=["another text", "another category"],
)
def test_other_warnings_are_seen(category: str, text: str) -> None:
    """The guard hides that one warning: any other is the error that was asked for."""
    ran = run(category, text, SENDS)
    assert ran.stderr.rstrip().endswith(f"{category}: {text}")


def test_the_filters_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's thread leaves the filters alone: they are those of the process.

    What two threads save and restore at the same time can end as the filters of neither.
    """
    threads = []
    enter = warnings.catch_warnings.__enter__

    def entered(self: warnings.catch_warnings) -> object:
        threads.append(threading.current_thread())
        return enter(self)

    monkeypatch.setattr(warnings.catch_warnings, "__enter__", entered)
    with warnings.catch_warnings(), local_server() as local:
        for method in local.server().policy.methods:
            send_in_loop(
                MESSAGE, local.server(policy=Policy(methods=(method,))), **envelope()
            )
    assert len(local.messages) == 3
    assert set(threads) == {threading.current_thread()}
