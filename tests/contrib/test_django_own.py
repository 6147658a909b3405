"""Django's own tests of its SMTP backend, run against this library's.

They are in Django's source distribution and not in this repository: the tests here are
skipped unless SMTPSEND_DJANGO_SDIST names the folder that holds it
(``pip download --no-deps --no-binary django django==VERSION``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import django
import pytest


ROOT = Path(__file__).parent.parent.parent

MOCKED = "replaces or looks into the smtplib object that Django keeps"
WORDS = "expects the words or the class of smtplib's error; ours is a SendError"

DIFFERENT = {
    "test_auth_attempted": MOCKED,
    "test_avoids_sending_to_invalid_addresses": f"{MOCKED}; see test_django.py",
    "test_connection_timeout_custom": MOCKED,
    "test_email_msg_uses_crlf": MOCKED,
    "test_serialized_message_uses_crlf_line_ending": MOCKED,
    "test_smtp_connection_uses_host_and_port": MOCKED,
    "test_smtp_connection_uses_timeout": MOCKED,
    "test_reopen_replaces_partial_connection": f"{MOCKED}; no half-open one is kept",
    "test_email_ssl_attempts_ssl_connection": WORDS,
    "test_email_tls_attempts_starttls": WORDS,
    "test_fail_silently_on_connection_error": WORDS,
    "test_lazy_addresses": "sends to an address without a domain",
    "test_recipient_without_domain": "sends to an address without a domain",
    "test_rejects_non_ascii_local_part": "we send it, where the server has SMTPUTF8",
    "test_direct_construction_deprecated": "the class itself does not warn",
}
"""What Django expects and this backend does not do, and why."""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run printed."""
    folder = os.environ.get("SMTPSEND_DJANGO_SDIST", "")
    sdist = Path(folder) / f"django-{django.__version__}.tar.gz"
    if not folder or not sdist.exists():
        pytest.skip(f"no source distribution of Django {django.__version__}")
    place = tmp_path_factory.mktemp("django")
    with tarfile.open(sdist) as archive:
        head = f"django-{django.__version__}/tests/mail"
        archive.extractall(
            place,
            members=[m for m in archive if m.name.startswith(head)],
            filter="data",
        )
    ran = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            Path(__file__).with_name("django_own.py"),
            place / f"django-{django.__version__}" / "tests",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_they_ran(result: dict[str, Any]) -> None:
    """The run found Django's tests."""
    assert result["ran"] > 50


def test_all_else_passes(result: dict[str, Any]) -> None:
    """Each test passes but those that expect what this backend does not do."""
    told = {n: t for n, t in result["told"].items() if n not in DIFFERENT}
    assert told == {}
