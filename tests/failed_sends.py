"""A send to a scripted server that fails, and its error."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import ScriptedServer
from sending import MESSAGE, Send, envelope, server_for

from smtpsend import SendError


def failed(send: Send, script: Any, *names: str, **options: Any) -> SendError:
    """The error of a send to a server that follows a script."""
    with ScriptedServer(script) as scripted:
        with pytest.raises(SendError) as caught:
            send(
                MESSAGE,
                server_for(scripted, *names or ("implicit",), **options),
                **envelope(),
            )
    return caught.value
