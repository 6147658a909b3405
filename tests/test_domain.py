"""Domain names: IDN, A-labels, and what is refused."""

from __future__ import annotations

import re
import sys

import pytest

from smtpsend._model.address.mailbox import (
    ascii_domain,
)
from smtpsend.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.org", "example.org"),
        ("Example.ORG", "Example.ORG"),
        ("localhost", "localhost"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("βόλος.com", "xn--nxasmm1c.com"),
        ("ｅｘａｍｐｌｅ。org", "example.org"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("a" * 63 + ".b", "a" * 63 + ".b"),
    ],
)
def test_ascii_domain(text: str, name: str) -> None:
    """Names come out in ASCII: IDN by UTS 46 without the transitional mappings."""
    assert ascii_domain(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "-a",
        "a-",
        "a_b",
        "a b",
        "a\n",
        "a\0b",
        "a" * 64,
        "[1.2.3.4]",
        "ü.",
        "ü..a",
        "ü b",
        "a\u2028ü",
        "ü_",
        "\u200d.a",
        "ü" * 64,
        "\ud800",
        "ü．＠.b",
        "ü／.b",
        "a:b",
        "a/b",
        "*.a",
        ".".join(["a" * 50] * 6),
    ],
)
def test_ascii_domain_refuses(text: str) -> None:
    """What is no domain name, before or after the mapping, is refused."""
    with pytest.raises(ConfigError):
        ascii_domain(text)


class TestWithoutIdna:
    """Without the extra only names on which IDNA 2003 is known to agree are taken."""

    @pytest.fixture(autouse=True)
    def _no_idna(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "idna", None)

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.Example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("plain.example", "plain.example"),
        ],
    )
    def test_same_as_idna_2008(self, text: str, name: str) -> None:
        """A label that decodes to its lower-cased self is taken."""
        assert ascii_domain(text) == name

    @pytest.mark.parametrize(
        "text",
        [
            "faß.example",
            "βόλος.com",
            "a\u200cb.com",
            "a\u200db.com",
            "ｅｘ.com",
            "a。ü",
        ],
    )
    def test_names_the_extra(self, text: str) -> None:
        """Any other name is an error that says what to install."""
        with pytest.raises(ConfigError, match=re.escape("smtpsend[idn]")):
            ascii_domain(text)

    @pytest.mark.parametrize("text", ["ü..a", "ü.", "ü.a_b", "ü.-a", "ü.a b"])
    def test_still_a_domain_name(self, text: str) -> None:
        """The rest of the name is held to the same rules."""
        with pytest.raises(ConfigError):
            ascii_domain(text)
