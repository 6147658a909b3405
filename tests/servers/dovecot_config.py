"""Dovecot's configuration file, in the format of 2.3 and in that of 2.4.

Release 2.4 renamed settings and refuses a file without `dovecot_config_version`, and
2.3 refuses one with it: no file suits both.
"""

from __future__ import annotations

import re
import subprocess


# What both formats write alike.
_COMMON = """\
base_dir = {work}/run
state_dir = {work}/state
log_path = /dev/stderr
listen = {host}
hostname = {hostname}
login_greeting = Dovecot ready.
ssl = required
first_valid_uid = 1
auth_mechanisms = plain login cram-md5 scram-sha-256 scram-sha-1 xoauth2 oauthbearer
auth_cache_size = 0
auth_failure_delay = 1 secs
mail_max_userip_connections = 100
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

_FORMAT_2_3 = """\
protocols = submission
ssl_cert = <{cert}
ssl_key = <{key}
mail_location = maildir:{work}/home/mail
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {work}/oauth2.conf
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
"""

# The file that the oauth2 passdb of 2.3 names.
_OAUTH2_2_3 = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={keys}/
username_attribute = email
"""

# The two version lines have to come first. They name the release whose defaults apply.
_FORMAT_2_4 = """\
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols {{
  submission = yes
}}
ssl_server_cert_file = {cert}
ssl_server_key_file = {key}
mail_driver = maildir
mail_path = {work}/home/mail
oauth2 {{
  introspection_mode = local
  username_attribute = email
  oauth2_local_validation {{
    dict fs {{
      fs posix {{
        prefix = {keys}/
      }}
    }}
  }}
}}
passdb oauth2 {{
  mechanisms_filter = xoauth2 oauthbearer
}}
passdb passwd-file {{
  mechanisms_filter = plain login cram-md5 scram-sha-256 scram-sha-1
  default_password_scheme = PLAIN
  passwd_file_path = {users}
}}
userdb static {{
  fields {{
    uid = nobody
    gid = nogroup
    home = {work}/home
  }}
}}
"""


def installed_version() -> tuple[int, int]:
    """The first two numbers of the version of the Dovecot that is installed."""
    ran = subprocess.run(
        ["dovecot", "--version"], capture_output=True, text=True, check=True
    )
    return version_of(ran.stdout)


def version_of(text: str) -> tuple[int, int]:
    """The first two numbers of what `dovecot --version` prints.

    Raises:
        ValueError: the text does not begin with a version.
    """
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        raise ValueError(f"no version of Dovecot: {text!r}")
    return int(found[1]), int(found[2])


def files(version: tuple[int, int], **values: object) -> dict[str, str]:
    """The configuration files for a version, by name; `dovecot.conf` is the main one."""
    if version >= (2, 4):
        return {"dovecot.conf": (_FORMAT_2_4 + _COMMON).format(**values)}
    return {
        "dovecot.conf": (_FORMAT_2_3 + _COMMON).format(**values),
        "oauth2.conf": _OAUTH2_2_3.format(**values),
    }
