"""The code of README and docs: each block is run as a reader copies it, and type-checked.

The blocks of one document run in its order, in one empty namespace, in an empty folder,
without any SMTP_* variable: a document gives all that it uses, except for what stands for
something of the reader's, which is

- the host names of `HOSTS`, which are embedded servers, reached on the ports that the
  text names; they accept the login ``ann@example.org`` with ``secret``;
- ``ca.pem``, the file with the CA of ``mail.internal.example``.

A ```sh block runs in a shell; the SMTP_* variables that it exports are set for the blocks
after it. A block that begins with the name of a file (``# shop.py``) is also written into
that file, and can be imported. A ```text block directly after a block is what that block
prints. If a block cannot run, or not everywhere, a comment before it says why::

    <!-- skip: next "needs an account" -->
    <!-- skip: next if(not installed("django"), reason="needs Django") -->
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import logging
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import SkipTest

import certifi
import pytest
import trustme


sybil = pytest.importorskip("sybil")
myst = pytest.importorskip("sybil.parsers.myst")

from smtpsend._client import known_servers  # noqa: E402
from smtpsend._client.servers import retries  # noqa: E402
from smtpsend._wire import dial  # noqa: E402
from smtpsend.errors import ConfigError  # noqa: E402
from smtpsend.testing.server import LocalServer  # noqa: E402


ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "_build" not in path.parts and "```python" in path.read_text("utf-8")
]

MAIL = ("mail.example.org", "smtp.gmail.com", "smtp.office365.com", "smtp.example.com")


@dataclass(frozen=True)
class Host:
    """How the server of a host name behaves."""

    refuse: tuple[str, ...] = ()
    trusted: bool = True


HOSTS = {
    **dict.fromkeys(MAIL, Host()),
    "blocked.example.org": Host(refuse=("starttls",)),
    "closed.example.org": Host(refuse=("starttls", "implicit", "starttls2")),
    "mail.internal.example": Host(trusted=False),
}
PORTS = {587: "starttls", 465: "implicit", 2525: "starttls2"}


class World:
    """The servers that the examples talk to, and what leads there."""

    def __init__(self, stack: ExitStack) -> None:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # The certificates of the embedded servers are for the names in the text.
        issue = trustme.CA.issue_cert
        patch.setattr(
            trustme.CA, "issue_cert", lambda ca, *names: issue(ca, *names, *HOSTS)
        )
        self.servers: dict[Host, LocalServer] = {}
        for host in HOSTS.values():
            if host not in self.servers:
                local = LocalServer(refuse=host.refuse)  # type: ignore[arg-type]
                local.username, local.password = "ann@example.org", "secret"
                self.servers[host] = stack.enter_context(local)
        roots = [s.cafile for host, s in self.servers.items() if host.trusted]
        self.bundle = "".join(Path(path).read_text("ascii") for path in roots)
        self.private_ca = Path(self.servers[HOSTS["mail.internal.example"]].cafile)
        self._look_up = socket.getaddrinfo
        self._connect = dial._connect

    def port(self, name: str, port: int) -> int:
        """The port on this machine that stands for one of a host."""
        local = self.servers[HOSTS[name]]
        return local.port(PORTS[port]) if port in PORTS else port  # type: ignore[arg-type]

    def look_up(self, name: Any, port: Any, *args: Any, **options: Any) -> Any:
        """`socket.getaddrinfo` with the hosts of the text in it, each its own address."""
        if name not in HOSTS:
            if isinstance(name, str) and re.fullmatch(r"[\d.]+|localhost|::1", name):
                return self._look_up(name, port, *args, **options)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        number = self.port(name, int(port)) if port else 0
        address = (f"127.0.0.{list(HOSTS).index(name) + 1}", number)
        if port:  # for smtplib and aiosmtplib, which connect to what they get
            address = ("127.0.0.1", number)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

    async def connect(self, family: Any, address: Any) -> Any:
        """The library's own connect, to the server that an address stands for."""
        number = int(address[0].rpartition(".")[2])
        if address[1] in PORTS and number <= len(HOSTS):
            name = list(HOSTS)[number - 1]
            address = ("127.0.0.1", self.port(name, address[1]))
        return await self._connect(family, address)


@pytest.fixture(scope="module")
def servers() -> Iterator[World]:
    """The embedded servers, once for all documents."""
    with ExitStack() as stack:
        yield World(stack)


@pytest.fixture
def world(
    servers: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A folder and a network in which the examples of one document run."""
    monkeypatch.chdir(tmp_path)
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(servers.bundle, "ascii")
    (tmp_path / "ca.pem").write_text(servers.private_ca.read_text("ascii"), "ascii")
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.syspath_prepend(tmp_path)
    configure_django()
    variables, modules = dict(os.environ), set(sys.modules)
    for name in [name for name in variables if name.startswith("SMTP")]:
        del os.environ[name]
    monkeypatch.setattr(socket, "getaddrinfo", servers.look_up)
    monkeypatch.setattr(dial, "_connect", servers.connect)
    known_servers._worked.clear()
    retries.in_process.clear()
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("smtpsend", "smtpsend.wire"))]
    had = [(one, one.level, one.handlers[:], one.propagate) for one in loggers]
    yield servers
    for one, level, handlers, propagate in had:
        one.setLevel(level)
        one.handlers[:], one.propagate = handlers, propagate
    os.environ.clear()
    os.environ.update(variables)
    for name in {path.stem for path in tmp_path.glob("*.py")} - modules:
        sys.modules.pop(name, None)


# The examples of these need not run: yagmail and redmail leave connections open, and the
# two packages of Taskiq do not always fit each other.
NEVER_REQUIRED = {"redmail", "taskiq_redis", "yagmail"}


def installed(name: str) -> bool:
    """Whether a module can be imported; for `skip: next if(...)`."""
    try:
        found = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its package is not there
        found = False
    if os.environ.get("SMTPSEND_REQUIRE_EXAMPLES"):
        assert found or name in NEVER_REQUIRED, f"{name} is not installed"
    return found


def configure_django() -> None:
    """Give Django settings, if it is there and nobody has."""
    if installed("django"):
        from django.conf import settings

        if not settings.configured:
            settings.configure(USE_TZ=True, DATABASES={}, LOGGING_CONFIG=None)


def django_settings(namespace: dict[str, Any]) -> AbstractContextManager[object]:
    """What a page sets for Django, for as long as a block runs.

    Of the two ways that there are, the one that is right for the Django that is here.
    """
    if not installed("django"):
        return nullcontext()
    import django
    from django.test import override_settings

    new = django.VERSION >= (6, 1)
    names = ["MAILERS"] if new else ["EMAIL_BACKEND", "SMTPSEND_SERVER"]
    return override_settings(**{n: namespace[n] for n in names if n in namespace})


def parse(path: Path) -> Any:
    """A document with its blocks and its skip comments."""
    shell = myst.CodeBlockParser("sh", run_in_shell)
    parsers = [myst.PythonCodeBlockParser(), shell, myst.SkipParser()]
    return sybil.Sybil(parsers=parsers).parse(path)


def run_in_shell(example: Any) -> None:
    """Run the lines of a ```sh block, and keep the variables that they export."""
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    show = shlex.join([sys.executable, "-c", program])
    done = subprocess.run(
        ["sh", "-ec", f"{example.parsed}\n{show}"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    os.environ.update({k: v for k, v in found.items() if k.startswith("SMTP")})


def name_of(path: Path) -> str:
    """The document's path in the project."""
    return path.relative_to(ROOT).as_posix()


# Directly after a block: what it prints, with "..." for what differs from run to run.
_SHOWN = re.compile(r"\s*```text\n(.*?)```", re.DOTALL)


def matches(said: str, shown: str) -> bool:
    """Whether what a block printed is what the text shows."""
    pattern = ".*?".join(map(re.escape, shown.strip().split("...")))
    return re.fullmatch(pattern, said.strip(), re.DOTALL) is not None


def is_block(example: Any) -> bool:
    """Whether an example is code, and no comment that skips some."""
    return isinstance(example.parsed, str)


def is_python(example: Any) -> bool:
    """Whether an example is Python code, and nothing for a shell."""
    return is_block(example) and example.region.evaluator is not run_in_shell


_FILE = re.compile(r"# (\w+\.py)\n")


def file_of(example: Any) -> str | None:
    """The name of the file that a block is for, where its first line names one."""
    found = _FILE.match(example.parsed) if is_python(example) else None
    return found and found[1]


def run(path: Path, name: str) -> None:
    """Run the blocks of a document in an empty namespace."""
    document = parse(path)
    # As a module, so that classes and dataclasses of the text work as they would there.
    namespace = document.namespace
    namespace |= {"installed": installed, "__name__": "__docs__"}
    for example in document.examples():
        if file := file_of(example):
            Path(file).write_text(example.parsed, "utf-8")
        where = f"{name}:{example.line}"
        said = io.StringIO()
        try:
            with redirect_stdout(said), django_settings(namespace):
                example.evaluate()
        except SkipTest:
            continue
        except Exception as error:
            error.add_note(f"in the example at {where}")
            raise
        shown = _SHOWN.match(document.text, example.region.end)
        if is_block(example) and shown:
            assert matches(said.getvalue(), shown[1]), f"{where}: {said.getvalue()}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
@pytest.mark.filterwarnings("default")
def test_runs(path: Path, world: World) -> None:
    """Every block of a document runs as it stands, against a real server."""
    run(path, name_of(path))


NOT_GIVEN = {
    "print(message)": NameError,
    "import smtpsend; smtpsend.Client(server)": NameError,
    "import smtpsend; smtpsend.Server.from_env()": ConfigError,
    "import smtpsend; smtpsend.compose(sender='a@b.org', attachments=['a'])": ConfigError,
    "import socket; socket.getaddrinfo('mail.example.edu', 587)": socket.gaierror,
}


@pytest.mark.parametrize(("code", "error"), NOT_GIVEN.items())
def test_nothing_is_given_silently(
    code: str, error: type[Exception], world: World, tmp_path: Path
) -> None:
    """A page that uses a name, variable, file or host that it does not give fails."""
    page = tmp_path / "page.md"
    page.write_text(f"```python\n{code}\n```\n", "utf-8")
    with pytest.raises(error):
        run(page, "page.md")


def test_a_page_gives_its_variables(world: World, tmp_path: Path) -> None:
    """What a shell block of a page exports is set for its later blocks."""
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nexport SMTP_HOST=mail.example.org\n```\n\n"
        "```python\nimport smtpsend\nprint(smtpsend.Server.from_env().host)\n```\n\n"
        "```text\nmail.example.org\n```\n",
        "utf-8",
    )
    run(page, "page.md")


def test_types(tmp_path: Path) -> None:
    """mypy has nothing to say about the blocks, each document read as one module."""
    pytest.importorskip("mypy")
    files: dict[str, str] = {}
    for path in DOCUMENTS:
        code: list[str] = []
        blocks = [e for e in parse(path).examples() if is_python(e)]
        own = {name.removesuffix(".py") for e in blocks if (name := file_of(e))}
        for example in blocks:
            # All blocks are in this one module, also those that the text has in files.
            text = "".join(
                line
                for line in example.parsed.splitlines(keepends=True)
                if not (line.startswith("from ") and line.split()[1] in own)
            )
            code.append(f"# {name_of(path)}:{example.line}\n{text}")
        name = re.sub(r"\W", "_", name_of(path).removesuffix(".md")) + ".py"
        files[name] = "\n\n".join(code)
        (tmp_path / name).write_text(files[name], "utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--check-untyped-defs"]
    # A page may show the same function for several libraries.
    command += ["--allow-redefinition", "--disable-error-code=no-redef"]
    command += ["--ignore-missing-imports", "--pretty"]
    # A cache of its own, since runs with other options discard what they find in it.
    cache = ROOT / ".mypy_cache" / "docs"
    command += [f"--cache-dir={cache}", "--python-version=3.11", *files]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_of_the_testing_guide(tmp_path: Path) -> None:
    """The tests that a reader copies from the guide pass, in a folder of their own."""
    for example in parse(ROOT / "docs/guides/testing.md").examples():
        if name := file_of(example):
            (tmp_path / name).write_text(example.parsed, "utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SMTP", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_few_are_skipped() -> None:
    """Almost all of the code runs everywhere; what cannot says why."""
    blocks = skipped = 0
    for path in DOCUMENTS:
        examples = list(parse(path).examples())
        blocks += sum(map(is_block, examples))
        for comment in (e for e in examples if not is_block(e)):
            action, reason = comment.parsed
            assert action == "next", f"{name_of(path)}:{comment.line}"
            assert reason, f"{name_of(path)}:{comment.line}: no reason is given"
            skipped += not reason.lstrip().startswith("if")
    assert blocks > 50
    assert skipped <= blocks // 10, f"{skipped} of {blocks} blocks are never run"


_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)\s]*)?\)")


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
)
def test_links(path: Path) -> None:
    """The links of what is read outside of the built pages lead to files."""
    missing = [
        target
        for target in _LINK.findall(path.read_text("utf-8"))
        if not (path.parent / target).exists()
    ]
    assert not missing


COMMANDS = (
    "python3 -m venv .venv && .venv/bin/pip install '.[testing]' && "
    ".venv/bin/python -m smtpsend demo",
    "python3 -m venv --upgrade-deps .venv && .venv/bin/pip install -e . --group dev && "
    ".venv/bin/python -m pytest",
)


def test_readme_commands() -> None:
    """The two commands of the README stand there, each on a line of its own."""
    text = (ROOT / "README.md").read_text("utf-8")
    lines = [line.strip() for line in text.splitlines()]
    for command in COMMANDS:
        assert command in lines


def test_readme_begins_with_the_example() -> None:
    """The first example is on the first screen."""
    head, fence, _ = (ROOT / "README.md").read_text("utf-8").partition("```python")
    assert fence
    assert head.count("\n") < 25


PUBLIC = ["smtpsend", "smtpsend.errors", "smtpsend.check", "smtpsend.testing"]
ALIASES = {"check", "check_async"}  # the reference has `diagnose` and `diagnose_async`


@pytest.mark.parametrize("module", PUBLIC)
def test_reference_is_complete(module: str) -> None:
    """Every public name has its entry in the reference."""
    pages = (ROOT / "docs/reference").glob("*.md")
    text = "\n".join(page.read_text("utf-8") for page in pages)
    entries = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)$", text, re.MULTILINE))
    entries |= {entry.rpartition(".")[2] for entry in entries}
    assert not set(importlib.import_module(module).__all__) - entries - ALIASES
