"""Which configuration Dovecot is given, by the version that is installed."""

from __future__ import annotations

import pytest

from servers.dovecot_config import files, version_of


VALUES = {
    name: name
    for name in (
        *("work", "host", "hostname", "cert", "key", "keys", "users", "max_size"),
        *("relay", "starttls", "implicit", "starttls2"),
    )
}


@pytest.mark.parametrize(
    ("printed", "version_line"),
    [
        ("2.3.19.1 (9b53102964)\n", False),
        ("2.4.1-4 (7d8c0e5759)\n", True),
        ("2.4.5 (e5a8d0e2d2)\n", True),
        ("2.10.0\n", True),
        ("3.0.0\n", True),
    ],
)
def test_format(printed: str, version_line: bool) -> None:
    """The file begins with the version lines from 2.4 on, and has none before."""
    main = files(version_of(printed), **VALUES)["dovecot.conf"]
    assert main.startswith("dovecot_config_version = ") is version_line
    assert ("dovecot_config_version" in main) is version_line


def test_no_version() -> None:
    """What prints no version is not Dovecot: the text is in the error."""
    with pytest.raises(ValueError, match="command not found"):
        version_of("dovecot: command not found")
