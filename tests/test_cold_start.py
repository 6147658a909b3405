"""P4: what a process that sends one message and ends has to import."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import certifi
import pytest
from scripted import ScriptedServer
from sending import MESSAGE, envelope, server_for

import smtpsend


PROGRAM = """
import json, sys
from smtpsend import Method, Password, Policy, Server, compose, send
port, user, password, ca = json.loads(sys.argv[1])
server = Server(
    "localhost",
    Password(user, password),
    policy=Policy(methods=[Method(port, "starttls")]),
    cafile=ca,
)
send(
    compose(sender="ann@example.org", to="bob@example.net", subject="Hi", text="Hi"),
    server,
)
from typing import ForwardRef
own = [module for name, module in sys.modules.items() if name.startswith("smtpsend")]
classes = {cls for module in own for cls in vars(module).values() if type(cls) is type}
made = [
    cls.__qualname__
    for cls in classes
    if cls.__module__.startswith("smtpsend")
    # Made by `dataclasses`, and by `typing`, which compiles each annotation.
    and (
        type(vars(cls).get("__dataclass_fields__")) is dict
        or any(type(kind) is ForwardRef for kind in cls.__annotations__.values())
    )
]
print(json.dumps([sorted(sys.modules), made]))
"""
# What belongs to other uses of the library, or costs more than it gives.
UNUSED = (
    *("cli", "check", "contrib", "oauth", "testing", "_client.diagnosis"),
    *("_model.server.environment", "_model.server.oauth_environment"),
    *("_model.server.password_file", "_model.server.providers", "_model.server.url"),
    *("_model.message.composition.attachments", "_model.message.composition.references"),
    *("_model.message.composition.calendar_text", "_model.diagnosis.advice"),
    *("_model.diagnosis.certificate", "_model.diagnosis.hints_by_event"),
    *("_model.diagnosis.login_remedies", "_model.diagnosis.tls_remedies"),
    *("_model.message.composition.unsubscribe", "_protocol.scram"),
    *("_client.sync", "_client.aio", "_client.pool", "_client.bulk"),
    *("_client.servers.several", "_client.servers.dispatchers", "_wire.secrets"),
    *("_wire.proxy.tunnel", "_wire.proxy.socks5", "_wire.tls.binding"),
    "_wire.tls.detection",
)
_MODULES = 111  # of the package; raise it only for what each send needs
COSTLY = {"certifi", "difflib", "importlib.resources", "mimetypes", "pathlib", "secrets"}


def run(program: str, *arguments: object, path: str = "") -> Any:
    """Run a program in a new process, and return what it printed as JSON."""
    # Without `site`, whose files of other packages may import anything.
    command = [sys.executable, "-S", "-c", program, json.dumps(arguments)]
    paths = [path, str(Path(__file__).parents[1]), *sys.path]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_one_send_imports() -> None:
    """A process that composes and sends one message imports what this needs, no more."""
    with ScriptedServer() as scripted:
        modules, made = run(
            PROGRAM,
            scripted.port("starttls"),
            scripted.user,
            scripted.password,
            scripted.ca,
        )
    assert "smtpsend._wire.exchange" in modules
    unused = tuple(f"smtpsend.{name}" for name in UNUSED)
    assert [name for name in modules if name.startswith(unused)] == []
    assert {*COSTLY, "email.mime", "importlib.util"}.isdisjoint(modules)
    assert len([name for name in modules if name.startswith("smtpsend")]) <= _MODULES
    assert made == []


COMMAND = """
import json, os, sys
port, user, password, ca = json.loads(sys.argv[1])
os.environ["SMTP_URL"] = f"smtp://{user.replace('@', '%40')}:{password}@localhost:{port}"
from smtpsend.cli import main
out, sys.stdout = sys.stdout, open(os.devnull, "w")
code = main(
    ["send", "--cafile", ca, "--from", "ann@example.org", "--to", "bob@example.net"]
    + ["--subject", "Hi", "--text", "Hi"]
)
sys.stdout = out
print(json.dumps([code, sorted(sys.modules)]))
"""


def test_what_the_command_imports() -> None:
    """`smtpsend send` without a file imports nothing for files, prompts or archives."""
    with ScriptedServer() as scripted:
        code, modules = run(
            COMMAND,
            scripted.port("starttls"),
            scripted.user,
            scripted.password,
            scripted.ca,
        )
    assert code == 0
    costly = COSTLY | {"email.parser", "getpass", "rich", "shutil"}
    assert costly.isdisjoint(modules)
    unused = ("_model.server.proxy", "_model.server.password_file", "_client.sync")
    assert {f"smtpsend.{name}" for name in unused}.isdisjoint(modules)


PUBLIC_CAS = """
import json, sys
from smtpsend._wire.tls.context import context_for, _public_cas
found, known = _public_cas(), len(context_for(None, None).get_ca_certs())
modules = sorted(sys.modules)
import certifi
print(json.dumps([found, known, modules, certifi.where()]))
"""


def test_public_cas() -> None:
    """The CAs of certifi are read, and certifi with all that it imports is not."""
    found, known, modules, where = run(PUBLIC_CAS)
    assert found == where
    assert known > 50
    assert COSTLY.isdisjoint(modules)


def test_another_certifi(tmp_path: Path) -> None:
    """A certifi without its file, as some distributions have it, is asked for one."""
    elsewhere = tmp_path / "system.pem"
    shutil.copy(certifi.where(), elsewhere)
    (tmp_path / "certifi").mkdir()
    replaced = f"def where(): return {str(elsewhere)!r}"
    (tmp_path / "certifi" / "__init__.py").write_text(replaced)
    found, known, modules, _ = run(PUBLIC_CAS, path=str(tmp_path))
    assert found == str(elsewhere)
    assert known > 50
    assert "certifi" in modules


def test_replaced_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that replaces `certifi.where` decides which file is read."""
    with ScriptedServer() as scripted:
        server = server_for(scripted, "starttls")
        monkeypatch.setattr(certifi, "where", lambda: str(scripted.ca))
        trusting = dataclasses.replace(server, cafile=None)
        assert smtpsend.send(MESSAGE, trusting, **envelope()).accepted
