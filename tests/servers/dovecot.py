"""Dovecot's submission proxy, which passes messages to a relay of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path

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

MAIN = """\
base_dir = {work}/run
state_dir = {work}/state
log_path = /dev/stderr
protocols = submission
listen = {host}
hostname = {hostname}
login_greeting = Dovecot ready.
ssl = required
ssl_cert = <{cert}
ssl_key = <{key}
mail_location = maildir:{work}/home/mail
first_valid_uid = 1
auth_mechanisms = plain login cram-md5 scram-sha-256 scram-sha-1 xoauth2 oauthbearer
auth_cache_size = 0
auth_failure_delay = 1 secs
mail_max_userip_connections = 100
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {oauth2}
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login cram-md5 scram-sha-256 scram-sha-1
  args = scheme=PLAIN username_format=%Lu {users}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={work}/home
}}
submission_max_mail_size = {max_size}
submission_max_recipients = 1000
submission_relay_host = {host}
submission_relay_port = {relay}
submission_relay_ssl = no
# Only what the relay can keep: it has no DSN.
submission_backend_capabilities = 8BITMIME SIZE ENHANCEDSTATUSCODES CHUNKING
service submission-login {{
  inet_listener submission {{
    port = {starttls}
  }}
  inet_listener submissions {{
    port = {implicit}
    ssl = yes
  }}
  inet_listener alternate {{
    port = {starttls2}
  }}
}}
service anvil {{
  chroot =
  # No penalty for an address: one test's wrong passwords would slow all later logins.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""

OAUTH2 = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={work}/keys/
username_attribute = email
"""


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
    starttls, implicit, starttls2 = setup.ports
    config = setup.write(
        "dovecot.conf",
        MAIN.format(
            work=setup.work,
            host=setup.host,
            hostname=setup.hostname,
            cert=cert,
            key=key,
            oauth2=setup.write("oauth2.conf", OAUTH2.format(work=setup.work)),
            users=setup.write(
                "users",
                f"{setup.user}:{{PLAIN}}{setup.password}\n",
                mode=0o640,
                owner="dovecot",
            ),
            max_size=setup.max_size,
            relay=await relay.listen(setup),
            starttls=starttls,
            implicit=implicit,
            starttls2=starttls2,
        ),
    )
    return Program(("dovecot", "-F", "-c", config))
