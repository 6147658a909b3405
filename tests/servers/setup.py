"""The settings of a supervisor, and the program that a kind of server returns to it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path


PREFIX = Path(os.environ.get("SMTPSEND_SERVERS_PREFIX", "/opt/smtpsend-test-servers"))


@dataclass(frozen=True)
class Setup:
    """One server to run. The ports are STARTTLS, implicit TLS, STARTTLS."""

    name: str
    host: str
    ports: tuple[int, int, int]
    cert: str
    key: str
    user: str
    password: str
    max_size: int
    out: str
    work: str = ""
    # A PEM file with the public key of an authorization server; "" for none.
    token_key: str = ""
    # Whether what is delivered is stored; else it is discarded, as benchmarks want it.
    keep: bool = True
    # A port of the host where a relay listens already; 0 for none.
    relay: int = 0

    @property
    def domain(self) -> str:
        return self.user.rpartition("@")[2]

    @property
    def hostname(self) -> str:
        return f"mail.{self.domain}"

    def dump(self, path: Path) -> None:
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path, work: str) -> Setup:
        described = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**described, "ports": tuple(described["ports"]), "work": work})

    def write(
        self, name: str, text: str, *, mode: int = 0o644, owner: str | None = None
    ) -> Path:
        """Write a file below the work folder."""
        path = Path(self.work, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(mode)
        path.write_text(text, encoding="utf-8")
        if owner:
            own(path, owner)
        return path

    def certificate(self) -> tuple[Path, Path]:
        """Copies of certificate and key that the server's own user can read."""
        return (
            self.write("cert.pem", Path(self.cert).read_text()),
            self.write("key.pem", Path(self.key).read_text(), mode=0o600),
        )


@dataclass(frozen=True)
class Program:
    """A server's command line, to be run in the foreground."""

    argv: tuple[str | Path, ...]
    env: dict[str, str] = field(default_factory=dict)


def own(path: Path, user: str) -> None:
    record = pwd.getpwnam(user)
    os.chown(path, record.pw_uid, record.pw_gid)


def programs_missing(*programs: str) -> str | None:
    """What to do about missing programs; None if all are installed."""
    # Debian installs daemons in directories that are not in the PATH of a normal user.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    absent = [name for name in programs if shutil.which(name, path=path) is None]
    if not absent:
        return None
    return f"no {' and no '.join(absent)} here; run tests/servers/install as root"


def root_missing() -> str | None:
    return None if os.geteuid() == 0 else "it runs as root only"
