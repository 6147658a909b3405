"""chasquid, an SMTP server in Go. It needs no root."""

from __future__ import annotations

import shlex
import subprocess
import sys
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

DELIVER = """\
#!/bin/sh
exec {python} -IS {store} {out} "$1"
"""

# 20 is chasquid's exit code for a permanent refusal.
POST_DATA = """\
#!/bin/sh
case "$MAIL_FROM" in
banned@*) echo "Sender refused"; exit 20 ;;
esac
"""


def missing() -> str | None:
    return programs_missing("chasquid", "chasquid-util")


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
    deliver = DELIVER.format(
        python=shlex.quote(sys.executable),
        store=shlex.quote(str(Path(__file__).with_name("store.py"))),
        out=shlex.quote(setup.out),
    )
    setup.write("etc/deliver", deliver, mode=0o755)
    add = ("user-add", setup.user, f"--password={setup.password}")
    subprocess.run(
        ["chasquid-util", f"--configdir={etc}", *add],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return Program(("chasquid", f"-config_dir={etc}", "-alsologtostderr"))
