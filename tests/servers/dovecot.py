"""Dovecot's submission proxy, which passes messages to a relay of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path

from servers import dovecot_config
from servers.setup import Program, Setup, own, programs_missing, root_missing


CAPABILITIES = frozenset(
    {"PIPELINING", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "SIZE", "AUTH"}
)
MECHANISMS = frozenset(
    {
        "PLAIN",
        "LOGIN",
        "CRAM-MD5",
        "SCRAM-SHA-256",
        "SCRAM-SHA-1",
        "XOAUTH2",
        "OAUTHBEARER",
    }
)
REFUSES_SENDER_AT = "MAIL"


def missing() -> str | None:
    return programs_missing("dovecot") or _submission_missing() or root_missing()


def _submission_missing() -> str | None:
    if Path("/usr/lib/dovecot/submission").exists():
        return None
    return "no submission service for Dovecot here; run tests/servers/install as root"


def _secret(password: str) -> bytes:
    return hashlib.sha256(password.encode()).hexdigest().encode()


def oauth_token(user: str, password: str) -> str:
    """A bearer token that this server accepts for a day: a JWT signed with its key."""

    def b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = int(time.time())
    head = {"typ": "JWT", "alg": "HS256", "kid": "default"}
    claims = {"sub": user, "email": user, "iat": now, "nbf": now, "exp": now + 86400}
    signed = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
    signature = hmac.digest(_secret(password), signed.encode(), hashlib.sha256)
    return f"{signed}.{b64(signature)}"


async def prepare(setup: Setup) -> Program:
    from servers import relay

    home = Path(setup.work, "home")
    home.mkdir()
    own(home, "nobody")
    cert, key = setup.certificate()
    setup.write(
        "keys/default/HS256/default", base64.b64encode(_secret(setup.password)).decode()
    )
    if setup.token_key:
        # The name of the file is the `kid` in the header of the token.
        setup.write("keys/default/RS256/k1", Path(setup.token_key).read_text())
    starttls, implicit, starttls2 = setup.ports
    files = dovecot_config.files(
        dovecot_config.installed_version(),
        work=setup.work,
        host=setup.host,
        hostname=setup.hostname,
        cert=cert,
        key=key,
        keys=Path(setup.work, "keys"),
        users=setup.write(
            "users",
            f"{setup.user}:{{PLAIN}}{setup.password}\n",
            mode=0o640,
            owner="dovecot",
        ),
        max_size=setup.max_size,
        relay=setup.relay or await relay.listen(setup),
        starttls=starttls,
        implicit=implicit,
        starttls2=starttls2,
    )
    paths = {name: setup.write(name, text) for name, text in files.items()}
    return Program(("dovecot", "-F", "-c", paths["dovecot.conf"]))
