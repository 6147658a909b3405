"""`AuthorizationServer`: oidc-provider under Node.js, as tests use it."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from servers.setup import PREFIX, programs_missing


if TYPE_CHECKING:
    from servers.real import Certificates


SECRET = "the-client+secret/of~the:robot"
SERVICE_ACCOUNT = "robot@project.example"


def missing() -> str | None:
    """What to do where it cannot run; None if it can."""
    if problem := programs_missing("node"):
        return problem
    folder = PREFIX / "authorization"
    if (folder / "node_modules/oidc-provider/package.json").exists():
        return None
    return f"no oidc-provider in {folder}; run tests/servers/install as root"


def _private_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _public_pem(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        .decode()
    )


@dataclass(frozen=True)
class Keys:
    """The key that signs the tokens, and that of a service account."""

    signing: rsa.RSAPrivateKey
    account: rsa.RSAPrivateKey

    @classmethod
    def make(cls) -> Keys:
        return cls(*(rsa.generate_private_key(65537, 2048) for _ in range(2)))


class AuthorizationServer:
    """A running authorization server, whose clients are named in its program.

    It issues JWTs that hold the user as the claim ``email``.
    """

    def __init__(self, folder: Path, certificates: Certificates, user: str) -> None:
        self.keys, self.ca, self.user = Keys.make(), certificates.ca, user
        self.public_key = str(folder / "signing.pub.pem")
        files = {
            "signing.pem": _private_pem(self.keys.signing),
            "signing.pub.pem": _public_pem(self.keys.signing),
            "account.pub.pem": _public_pem(self.keys.account),
        }
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
        settings = {
            "prefix": str(PREFIX / "authorization"),
            "cert": certificates.cert,
            "key": certificates.key,
            "signing_key": str(folder / "signing.pem"),
            "assertion_key": str(folder / "account.pub.pem"),
            "client_secret": SECRET,
            "service_account": SERVICE_ACCOUNT,
            "user": user,
        }
        path = folder / "settings.json"
        path.write_text(json.dumps(settings), "utf-8")
        self._log = (folder / "authorization.log").open("wb")
        self._process = subprocess.Popen(
            ["node", Path(__file__).with_name("authorization_server.mjs"), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.strip().isdigit():
            self.stop()
            log = (folder / "authorization.log").read_text("utf-8")
            raise RuntimeError(f"the authorization server did not start:\n{log[-3000:]}")
        self.url = f"https://localhost:{int(line)}"
        self.token_url = f"{self.url}/token"
        self.device_url = f"{self.url}/device/auth"

    def stop(self) -> None:
        """End the server, and wait for that."""
        with self._process:
            self._process.terminate()
        self._log.close()

    def service_account(self) -> dict[str, str]:
        """The JSON file of the service account."""
        return {
            "type": "service_account",
            "client_email": SERVICE_ACCOUNT,
            "private_key": _private_pem(self.keys.account),
            "private_key_id": "1",
            "token_uri": f"{self.url}/service/token",
        }

    def control(self, name: str, **query: str) -> Any:
        """Call one of the controls of the program."""
        context = ssl.create_default_context(cafile=self.ca)
        url = f"{self.url}/control/{name}?{urlencode(query)}"
        with urllib.request.urlopen(url, context=context, timeout=20) as reply:
            return json.loads(reply.read())

    def set(self, **values: Any) -> None:
        """Change how the server behaves: ttl, skew, failing, rotate."""
        self.control("set", **{name: json.dumps(v) for name, v in values.items()})

    def approve(self, code: str, *, by: str | None) -> None:
        """Enter a device code as the user `by`; None refuses."""
        self.control("approve", user_code=code, account=by or "")
