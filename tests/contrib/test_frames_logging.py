"""P5: no frame of an error of the logging handler has a password."""

from __future__ import annotations

from typing import Any

import pytest
from frames import nothing_of

from smtpsend.contrib.logging import MailHandler
from smtpsend.errors import ConfigError


SECRET = "s3cret-Pa55word"
TO = {"sender": "a@x.example", "recipients": ["b@x.example"]}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"smtp://u:{SECRET}@h/x", TO),
        (f"smtp://u:{SECRET}@h", {**TO, "rate": 0}),
        (f"smtp://u:{SECRET}@h", {**TO, "sender": "nobody"}),
    ],
)
def test_unfit(url: str, options: dict[str, Any]) -> None:
    """What cannot be used leaves no URL in the frames of its error."""
    with pytest.raises(ConfigError) as caught:
        MailHandler(url, **options)
    nothing_of(SECRET, caught.value)
