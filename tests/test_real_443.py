"""A network that leaves 443 open alone, and a provider that has submission there.

Server and client run in a network namespace of their own (see servers/namespace.py). The
firewall drops what is for any other port, as most networks do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from email.utils import make_msgid
from typing import Any

import pytest
from servers import Certificates, RealServer
from servers.namespace import Namespace, run

from smtpsend import Method
from smtpsend._model.server.providers import providers


ONLY_443 = "--syn ! --dport 443 -j DROP"
WITH_443 = [
    key
    for key, row in providers().items()
    if Method(443, "implicit") in row.methods and "{region}" not in row.host
]

CLIENT = """\
import json, sys
import smtpsend

provider, cafile, user, password, id = sys.argv[1:]
server = smtpsend.Server.at(provider, (user, password), cafile=cafile)
message = smtpsend.compose(
    sender=user, to=user, text="It works.", headers={"Message-ID": id}
)
report = smtpsend.diagnose(server, timeout=3)
receipt = smtpsend.send(message, server, timeout=30)
tried = [attempt.method.port for attempt in receipt.attempts]
chosen = report.chosen and report.chosen.port
print(json.dumps([chosen, receipt.method.port, tried]))
"""


@pytest.fixture(scope="module", params=WITH_443)
def provider(
    request: pytest.FixtureRequest,
    real_servers: Any,
    namespace: Namespace,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, RealServer]]:
    """A provider, and a server under its name in the namespace, with TLS on 443."""
    real_servers.get("aiosmtpd")  # skips where it can't run
    host = providers()[request.param].host_in(None)
    folder = tmp_path_factory.mktemp("provider")
    certificates = Certificates.make(tmp_path_factory.mktemp("certificates"), host)
    started = RealServer(
        "aiosmtpd",
        folder,
        certificates,
        ports=(587, 443, 2525),
        prefix=namespace.prefix,
    )
    with namespace.knowing(host):
        yield request.param, started
    started.stop()


def test_a_mail_goes_out(provider: tuple[str, RealServer], namespace: Namespace) -> None:
    """Where 443 alone is open, a mail goes out to a provider that has it, by its name."""
    key, server = provider
    message_id = make_msgid(domain=server.domain)
    words = (key, server.ca, server.user, server.password, message_id)
    with namespace.rules(ONLY_443):
        ran = run(*namespace.prefix, sys.executable, "-c", CLIENT, *words)
    assert ran.returncode == 0, ran.stderr
    chosen, port, tried = json.loads(ran.stdout)
    assert (chosen, port) == (443, 443)
    assert 443 not in tried
    assert len(server.delivered(message_id, 1)) == 1


def test_there_is_such_a_provider() -> None:
    """At least one provider that is known by name has submission on 443."""
    assert "smtp2go" in WITH_443
