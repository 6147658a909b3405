"""Postfix, with its own master, queue and Cyrus SASL database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from servers.setup import Program, Setup, own, programs_missing, root_missing


CAPABILITIES = frozenset(
    {
        "PIPELINING",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "SIZE",
        "AUTH",
    }
)
MECHANISMS = frozenset({"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256"})
REFUSES_SENDER_AT = "MAIL"

MAIN = """\
compatibility_level = 3.6
queue_directory = {work}/queue
data_directory = {work}/data
maillog_file = /dev/stdout
maillog_file_prefixes = /dev
myhostname = {hostname}
mydomain = {domain}
mydestination = {domain}
mynetworks =
inet_interfaces = {host}
inet_protocols = all
smtputf8_enable = yes
message_size_limit = {max_size}
mailbox_size_limit = 0
alias_maps =
alias_database =
# Every recipient but unknown* is known, and all mail goes to the relay, or nowhere.
local_recipient_maps = regexp:{etc}/recipients
local_transport = {transport}
default_transport = {transport}
smtp_destination_recipient_limit = 1000
smtp_tls_security_level = none
# There is no scache service to keep connections in.
smtp_connection_cache_on_demand = no
# The tests compare what arrives with what was sent, a Bcc that leaked included.
local_header_rewrite_clients =
message_drop_headers =
disable_mime_output_conversion = yes
smtp_line_length_limit = 0
# A batch arrives faster than it is delivered; without this each message waits 1 s.
in_flow_delay = 0
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = {domain}
cyrus_sasl_config_path = {etc}/sasl
# A refused sender is refused at MAIL, not at the first RCPT.
smtpd_delay_reject = no
smtpd_sender_restrictions = check_sender_access regexp:{etc}/senders
smtpd_relay_restrictions = check_recipient_access regexp:{etc}/later,
    permit_sasl_authenticated, reject
# Stricter than the defaults of 3.7, as later versions are.
smtpd_forbid_bare_newline = reject
smtpd_forbid_unauth_pipelining = yes
"""

MASTER = """\
{host}:{starttls} inet n - n - - smtpd
{host}:{implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
{host}:{starttls2} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

SASL = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {etc}/sasldb2
mech_list: PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-256
"""


def missing() -> str | None:
    return programs_missing("postfix", "saslpasswd2") or root_missing()


async def prepare(setup: Setup) -> Program:
    from servers import relay

    work = Path(setup.work)
    etc = work / "etc"
    for folder in (etc, work / "queue", work / "data"):
        folder.mkdir()
    own(work / "data", "postfix")
    cert, key = setup.certificate()
    starttls, implicit, starttls2 = setup.ports
    transport = "discard:"
    if setup.keep:
        transport = f"smtp:[{setup.host}]:{await relay.listen(setup)}"
    values = {
        "work": work,
        "etc": etc,
        "host": setup.host,
        "hostname": setup.hostname,
        "domain": setup.domain,
        "max_size": setup.max_size,
        "cert": cert,
        "key": key,
        "transport": transport,
        "starttls": starttls,
        "implicit": implicit,
        "starttls2": starttls2,
    }
    setup.write("etc/main.cf", MAIN.format(**values))
    setup.write("etc/master.cf", MASTER.format(**values))
    setup.write("etc/sasl/smtpd.conf", SASL.format(**values))
    setup.write("etc/recipients", "if !/^unknown/\n/./ known\nendif\n")
    setup.write("etc/later", "/^later/ 450 4.2.0 Try again later\n")
    setup.write("etc/senders", "/^banned@/ 550 5.7.1 Sender refused\n")
    database = etc / "sasldb2"
    user, _, realm = setup.user.rpartition("@")
    subprocess.run(
        ["saslpasswd2", "-p", "-c", "-f", database, "-u", realm, user],
        input=setup.password.encode(),
        check=True,
    )
    database.chmod(0o640)
    own(database, "postfix")
    # Not `postfix start-fg`: that leaves a shell between us and the master, which
    # would outlive it. The check makes the queue's folders.
    subprocess.run(["postfix", "-c", etc, "check"], check=True, stdout=sys.stderr)
    daemons = subprocess.run(
        ["postconf", "-c", etc, "-h", "daemon_directory"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # The master changes its user for a moment, and the kernel then forgets that it should
    # end with the supervisor. If the supervisor is killed, `-e` ends it after two hours.
    return Program((Path(daemons, "master"), "-c", etc, "-s", "-e", "7200"))
