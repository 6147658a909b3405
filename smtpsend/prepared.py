"""An alias: `prepare` and `Prepared` of `smtpsend` under their first name."""

from __future__ import annotations

from smtpsend._client.submission import prepare
from smtpsend._model.message.prepared import Prepared


__all__ = ["Prepared", "prepare"]
