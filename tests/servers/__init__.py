"""Real submission servers for the tests: Postfix, Dovecot, chasquid and others.

`servers.fixtures` has the pytest fixtures, `RealServer` is what they give. Each
server runs below a supervisor of its own (`servers.supervise`), which stores what
the server delivers and leaves nothing running when pytest ends, however it ends.
"""

from servers.delivery import Delivery, canonical, strip_trace
from servers.kinds import ALL, KINDS
from servers.real import DEFAULT_SIZE, SMALL_SIZE, Certificates, RealServer


__all__ = [
    "ALL",
    "DEFAULT_SIZE",
    "KINDS",
    "SMALL_SIZE",
    "Certificates",
    "Delivery",
    "RealServer",
    "canonical",
    "strip_trace",
]
