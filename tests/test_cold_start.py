"""P4: what a process that sends one message and ends has to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from scripted import ScriptedServer


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
    *("_model.server.password_file", "_model.server.providers"),
    *("_model.message.composition.attachments", "_model.message.composition.references"),
    *("_model.message.composition.calendar_text", "_model.diagnosis.advice"),
    "_model.message.composition.unsubscribe",
    *("_client.sync", "_client.aio", "_client.bulk.send_many", "_client.bulk.dispatcher"),
    *("_client.bulk.worker", "_client.bulk.queue", "_client.servers.dispatchers"),
    *("_client.servers.several", "_wire.proxy.tunnel", "_wire.proxy.socks5"),
)
COSTLY = {"certifi", "difflib", "importlib.resources", "mimetypes", "pathlib"}


def test_what_one_send_imports() -> None:
    """A process that composes and sends one message imports what this needs, no more."""
    with ScriptedServer() as scripted:
        given = (scripted.port("starttls"), scripted.user, scripted.password, scripted.ca)
        command = [sys.executable, "-S", "-c", PROGRAM, json.dumps(given)]
        # Without `site`, whose files of other packages may import anything.
        path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    modules, made = json.loads(done.stdout)
    assert "smtpsend._wire.exchange" in modules
    unused = tuple(f"smtpsend.{name}" for name in UNUSED)
    assert [name for name in modules if name.startswith(unused)] == []
    assert COSTLY.isdisjoint(modules)
    assert made == []
