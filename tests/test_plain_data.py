"""Errors and receipts as plain data, for queues and results that know JSON alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_errors import ATTEMPTS, KINDS, METHOD, SAID, full

from smtpsend import Receipt, SendError
from smtpsend.errors import ConfigError, DeliveryUnknown, RecipientsRefused, Rejected


RECEIPT = Receipt(
    message_id="<1@example.org>",
    method=METHOD,
    address="192.0.2.1",
    tls="TLSv1.3",
    reply=SAID,
    accepted=("a@example.org",),
    refused={"b@example.org": SAID},
    attempts=ATTEMPTS,
    elapsed=1 / 3,
    started=0.1 / 3,
)


def by_json(data: dict[str, Any]) -> dict[str, Any]:
    """The data as a broker of JSON hands it on."""
    again: dict[str, Any] = json.loads(json.dumps(data))
    assert again == data
    return again


@pytest.mark.parametrize("kind", KINDS)
def test_an_error(kind: type[SendError]) -> None:
    """An error that went through JSON is the same error, by any base's `from_dict`."""
    error = full(kind)
    for base in (SendError, kind):
        twin = base.from_dict(by_json(error.to_dict()))
        assert type(twin) is kind
        assert vars(twin) == vars(error)
        assert (twin.args, str(twin)) == (error.args, str(error))


def test_an_error_with_nothing() -> None:
    """An error without facts is one without facts afterwards."""
    twin = SendError.from_dict(by_json(DeliveryUnknown("lost").to_dict()))
    assert vars(twin) == vars(DeliveryUnknown("lost"))


def test_a_receipt() -> None:
    """A receipt that went through JSON is equal to the receipt."""
    assert Receipt.from_dict(by_json(RECEIPT.to_dict())) == RECEIPT


@pytest.mark.parametrize(
    "change",
    [
        {"type": "OSError"},
        {"type": "smtpsend"},
        {"type": 1},
        {"phase": "nowhere"},
        {"event": "nothing"},
        {"reply": "250 OK"},
        {"reply": {"code": "250", "enhanced": None, "text": ""}},
        {"attempts": [{}]},
        {"attempts": 1},
        {"accepted": [1]},
        {"accepted": "a@example.org"},
        {"refused": ["b@example.org"]},
        {"temporary": "yes"},
        {"message": None},
        {"message_id": 1},
    ],
)
def test_what_is_no_error(change: dict[str, Any]) -> None:
    """Anything else than an error's data is refused, whatever it holds."""
    with pytest.raises(ConfigError, match="not an error"):
        SendError.from_dict(full(RecipientsRefused).to_dict() | change)


@pytest.mark.parametrize("data", [None, [], "text", {}])
def test_what_is_no_data(data: Any) -> None:
    """What is no dict of this kind is refused, too."""
    with pytest.raises(ConfigError, match="not an error"):
        SendError.from_dict(data)
    with pytest.raises(ConfigError, match="not a receipt"):
        Receipt.from_dict(data)


def test_another_class() -> None:
    """The data of a class is not an error of another branch of the tree."""
    with pytest.raises(ConfigError, match="not an error"):
        Rejected.from_dict(full(DeliveryUnknown).to_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"method": None},
        {"method": {"port": 0, "security": "starttls"}},
        {"reply": None},
        {"accepted": "a@example.org"},
        {"refused": {"b@example.org": "550"}},
        {"elapsed": "1"},
        {"address": None},
    ],
)
def test_what_is_no_receipt(change: dict[str, Any]) -> None:
    """Anything else than a receipt's data is refused."""
    with pytest.raises(ConfigError, match="not a receipt"):
        Receipt.from_dict(RECEIPT.to_dict() | change)
