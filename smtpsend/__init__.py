"""Send mail to a submission server: verified TLS, port fallback, honest errors."""

import typing as _typing


if _typing.TYPE_CHECKING:
    from smtpsend._client.aio import AsyncClient, send_async
    from smtpsend._client.sync import Client, send
    from smtpsend._model.message.compose import compose
    from smtpsend._model.policy.policy import Method, Policy
    from smtpsend._model.receipt import Outcome, Receipt
    from smtpsend._model.server.credentials import OAuth2, Password
    from smtpsend._model.server.server import Server
    from smtpsend.errors import DeliveryUnknown, SendError

    __version__: str

__all__ = [
    "AsyncClient",
    "Client",
    "DeliveryUnknown",
    "Method",
    "OAuth2",
    "Outcome",
    "Password",
    "Policy",
    "Receipt",
    "SendError",
    "Server",
    "compose",
    "send",
    "send_async",
]

# Imported when first asked for (PEP 562): a program that may never send a mail does not
# pay for it when it starts.
_HOMES = {
    "AsyncClient": "_client.aio",
    "send_async": "_client.aio",
    "Client": "_client.sync",
    "send": "_client.sync",
    "OAuth2": "_model.server.credentials",
    "Password": "_model.server.credentials",
    "compose": "_model.message.compose",
    "Method": "_model.policy.policy",
    "Policy": "_model.policy.policy",
    "Outcome": "_model.receipt",
    "Receipt": "_model.receipt",
    "Server": "_model.server.server",
    "DeliveryUnknown": "errors",
    "SendError": "errors",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in ("check", "errors", "prepared", "testing"):
        return import_module(f"smtpsend.{name}")
    if name == "__version__":
        return _version()
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module 'smtpsend' has no attribute {name!r}")
    value = getattr(import_module(f"smtpsend.{home}"), name)
    globals()[name] = value
    return value


def _version() -> str:
    # Looked up when asked for: the module costs more than all of this package does.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("smtpsend")
    except PackageNotFoundError:  # a copy of the source that was never installed
        return "unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
