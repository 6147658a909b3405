"""The timeline of a send, at any width."""

from __future__ import annotations

import pytest

from smtpsend import Method, Receipt
from smtpsend.cli.terminal.timeline import bars, draw
from smtpsend.errors import Attempt, Event, Phase, Reply


FIRST, SECOND, THIRD = (
    Method(587, "starttls"),
    Method(465, "implicit"),
    Method(2525, "starttls"),
)
ATTEMPTS = (
    Attempt(
        FIRST, "192.0.2.1", Phase.GREETING, "no greeting", 0.0, 0.4, Event.NO_GREETING
    ),
    Attempt(SECOND, "192.0.2.1", Phase.TLS, None, 0.3, 0.3),
)
RECEIPT = Receipt(
    message_id="<1@example.org>",
    method=THIRD,
    address="192.0.2.1",
    tls="TLSv1.3",
    reply=Reply(250, "2.0.0", "queued as " + "9" * 40),
    accepted=("bob@example.net",),
    refused={},
    attempts=ATTEMPTS,
    elapsed=1.2,
    started=0.6,
)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_fits(width: int) -> None:
    """No line is wider than asked, and every method is there with its outcome."""
    drawn = draw(bars(ATTEMPTS, RECEIPT), width)
    assert max(map(len, drawn.splitlines())) <= width
    for words in ("587 STARTTLS", "no greeting", "another was ready first", "accepted"):
        assert words in " ".join(drawn.split())


def test_one_scale() -> None:
    """All bars stand on one scale of time: what began later stands further right."""
    drawn = draw(bars(ATTEMPTS, RECEIPT), 80)
    starts = [line.index("=") for line in drawn.splitlines() if "=" in line]
    assert starts == sorted(starts)
    assert len(set(starts)) == 3
    assert "1200 ms" in drawn


def test_styles() -> None:
    """What failed, what was abandoned and what worked look different."""
    assert [bar.style for bar in bars(ATTEMPTS, RECEIPT)] == ["bad", "dim", "good"]


def test_nothing() -> None:
    """Without attempts there is just the scale."""
    assert len(draw(bars(())).splitlines()) == 1
