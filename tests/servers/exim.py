"""Exim, unpacked beside Postfix, with a spool of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from servers.setup import PREFIX, Program, Setup, own, root_missing


CAPABILITIES = frozenset(
    {"PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "SIZE", "AUTH"}
)
MECHANISMS = frozenset({"PLAIN", "LOGIN"})
REFUSES_SENDER_AT = "MAIL"

BINARY = PREFIX / "exim/usr/sbin/exim4"

CONFIG = """\
exim_path = {binary}
spool_directory = {work}/spool
log_file_path = {work}/spool/log/%slog
pid_file_path = {work}/spool/exim.pid
primary_hostname = {hostname}
qualify_domain = {domain}
local_interfaces = {host}
daemon_smtp_ports = {starttls} : {implicit} : {starttls2}
tls_on_connect_ports = {implicit}
tls_advertise_hosts = *
tls_certificate = {cert}
tls_privatekey = {key}
auth_advertise_hosts = ${{if def:tls_in_cipher{{*}}}}
chunking_advertise_hosts = *
dsn_advertise_hosts = *
message_size_limit = {max_size}
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 0
# From the eleventh message of a connection on, Exim would only queue.
smtp_accept_queue_per_connection = 0
smtp_enforce_sync = true
never_users =
remote_max_parallel = 1
acl_smtp_mail = acl_mail
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = acl_data

begin acl
acl_mail:
  deny message = Log in first
       !authenticated = *
  deny message = Sender refused
       senders = ^banned@
  accept
acl_rcpt:
  deny message = User unknown
       local_parts = ^unknown
  defer message = Try again later
        local_parts = ^later
  accept
acl_data:
  {at_data}

begin routers
relay:
  driver = manualroute
  transport = relay
  route_list = * {host}::{relay}
  self = send
  host_find_failed = freeze

begin transports
relay:
  driver = smtp
  allow_localhost
  hosts_avoid_tls = *
  max_rcpt = 1000

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{\\
    {{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${{if and{{\\
    {{eq{{$auth1}}{{{user}}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
"""


def missing() -> str | None:
    if not BINARY.exists():
        return f"no Exim in {PREFIX}; run tests/servers/install as root"
    return root_missing()


async def prepare(setup: Setup) -> Program:
    from servers import relay

    spool = Path(setup.work, "spool")
    spool.mkdir()
    own(spool, "Debian-exim")
    cert, key = setup.certificate()
    own(key, "Debian-exim")
    starttls, implicit, starttls2 = setup.ports
    config = setup.write(
        "exim.conf",
        CONFIG.format(
            binary=BINARY,
            work=setup.work,
            host=setup.host,
            hostname=setup.hostname,
            domain=setup.domain,
            cert=cert,
            key=key,
            user=setup.user,
            password=setup.password,
            max_size=setup.max_size,
            relay=await relay.listen(setup),
            at_data="accept" if setup.keep else "discard",
            starttls=starttls,
            implicit=implicit,
            starttls2=starttls2,
        ),
        mode=0o640,
    )
    # The password is in it; and Exim refuses a configuration of another owner than root.
    shutil.chown(config, "root", "Debian-exim")
    return Program((BINARY, "-C", config, "-bdf", "-q1m"))
