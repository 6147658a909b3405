"""Send mail to a submission server: verified TLS, port fallback, honest errors."""

from smtpsend._client.aio import AsyncClient, send_async
from smtpsend._client.sync import Client, send
from smtpsend._model.auth import OAuth2, Password
from smtpsend._model.compose import compose
from smtpsend._model.policy import Method, Policy
from smtpsend._model.receipt import Outcome, Receipt
from smtpsend._model.server import Server
from smtpsend.errors import DeliveryUnknown, SendError


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
