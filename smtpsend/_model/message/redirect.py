"""Messages for one address in place of their recipients: for staging."""

from __future__ import annotations

from dataclasses import replace

from smtpsend._model.message.envelope import Envelope


def redirected(given: Envelope, address: str) -> Envelope:
    """`given` for `address` alone, with its recipients in a header on top."""
    names = [r.encode("ascii", "backslashreplace") for r in given.recipients]
    line = b"X-Original-Recipients: " + b",\r\n ".join(names) + b"\r\n"
    anew = given.seven_bit

    def seven_bit() -> bytes | None:
        content = anew() if anew is not None else None
        return None if content is None else line + content

    return replace(
        given,
        recipients=(address,),
        content=line + given.content,
        utf8=given.utf8 or not address.isascii(),
        seven_bit=seven_bit if anew is not None else None,
    )
