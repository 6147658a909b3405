"""chasquid, an SMTP server in Go. It needs no root."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path

from servers.setup import Program, Setup, programs_missing


CAPABILITIES = frozenset(
    {"PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE", "AUTH"}
)
MECHANISMS = frozenset({"PLAIN"})
# It has no list of refused senders, only a hook that sees the whole message.
REFUSES_SENDER_AT = "DATA"

MIB = 1 << 20

CONFIG = """\
hostname: "{hostname}"
max_data_size_mb: {megabytes}
smtp_address: "{host}:0"
submission_address: "{host}:{starttls}"
submission_address: "{host}:{starttls2}"
submission_over_tls_address: "{host}:{implicit}"
data_dir: "{work}/data"
mail_log_path: "<stderr>"
suffix_separators: ""
drop_characters: ""
"""

# Every local part but unknown* is an alias for a pipe. chasquid asks for the
# catch-all, *@DOMAIN, too: that one must not exist.
ALIASES = """\
#!/bin/sh
case "$1" in
unknown*) ;;
"*@"*) ;;
*) echo "|{deliver} $1" ;;
esac
"""

# The same two files as store.py writes, the .json last and in one step. A shell does it,
# since Python would take ten times as long to start for each message. The pipe does not
# get the sender: `Delivery` reads that from the Received field.
DELIVER = """\
#!/bin/sh
stem={out}/$(date +%s%N)-$$
cat > "$stem.eml"
printf '{{"sender": null, "recipients": ["%s"]}}' "$1" > "$stem.part"
mv "$stem.part" "$stem.json"
"""

# 20 is chasquid's exit code for a permanent refusal.
POST_DATA = """\
#!/bin/sh
case "$MAIL_FROM" in
banned@*) echo "Sender refused"; exit 20 ;;
esac
"""


# As `chasquid-util user-add` writes it, but for N: its 2**14 takes 60 ms of each login.
USERS = """\
users: {{
  key: "{name}"
  value: {{
    scrypt: {{ logN: 1 r: 8 p: 1 keyLen: 32 salt: "{salt}" encrypted: "{key}" }}
  }}
}}
"""


def _users(setup: Setup) -> str:
    """The user and the password, in the text format of protocol buffers."""
    salt = os.urandom(16)
    key = hashlib.scrypt(setup.password.encode(), salt=salt, n=2, r=8, p=1, dklen=32)
    salt, key = ("".join(f"\\x{byte:02x}" for byte in one) for one in (salt, key))
    return USERS.format(name=setup.user.rpartition("@")[0], salt=salt, key=key)


def missing() -> str | None:
    return programs_missing("chasquid")


async def prepare(setup: Setup) -> Program:
    etc = Path(setup.work, "etc")
    starttls, implicit, starttls2 = setup.ports
    setup.write(
        "etc/chasquid.conf",
        CONFIG.format(
            work=setup.work,
            host=setup.host,
            hostname=setup.hostname,
            megabytes=max(1, setup.max_size // MIB),
            starttls=starttls,
            implicit=implicit,
            starttls2=starttls2,
        ),
    )
    certs = f"etc/certs/{setup.hostname}"
    setup.write(f"{certs}/fullchain.pem", Path(setup.cert).read_text())
    setup.write(f"{certs}/privkey.pem", Path(setup.key).read_text(), mode=0o600)
    Path(etc, "domains", setup.domain).mkdir(parents=True)
    pipe = f"{setup.work}/etc/deliver" if setup.keep else "/bin/true"
    setup.write("etc/hooks/alias-resolve", ALIASES.format(deliver=pipe), mode=0o755)
    setup.write("etc/hooks/post-data", POST_DATA, mode=0o755)
    deliver = DELIVER.format(out=shlex.quote(setup.out))
    setup.write("etc/deliver", deliver, mode=0o755)
    Path(etc, "domains", setup.domain, "users").write_text(_users(setup), "ascii")
    return Program(("chasquid", f"-config_dir={etc}", "-alsologtostderr"))
