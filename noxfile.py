"""The tasks of a contributor: `nox -l` lists them, `nox -s quick` is the inner loop."""

import nox


nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "quick"]

# What needs no server, and one file that needs the scripted one.
QUICK = [
    *("address", "compose", "compose_attachments", "compose_headers", "configuration"),
    *("errors", "face", "flatten", "message"),
    *("policy", "replies", "rings", "scripted_judges", "send", "server"),
]


def install(session: nox.Session, group: str) -> None:
    """Install the project as it is in the checkout, and a group of dependencies."""
    session.install("--upgrade", "pip")
    session.install("--editable", ".", "--group", group)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and what ruff finds."""
    install(session, "dev")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """The types of the package and of its public face."""
    install(session, "dev")
    session.run("mypy")
    session.run("pyright")
    session.run("mypy", "--strict", "tests/typing")
    session.run("pyright", "tests/typing")


@nox.session
def quick(session: nox.Session) -> None:
    """The tests of the inner loop: under 20 seconds, no real server, no scan."""
    install(session, "dev")
    files = [f"tests/test_{name}.py" for name in QUICK]
    session.run("pytest", "-m", "not scan and not real", *files, *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; those of real servers are skipped where the servers are missing."""
    install(session, "dev")
    session.run("pytest", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """The examples of the documentation, with the libraries that they use."""
    install(session, "examples")
    session.run("pytest", "tests/test_docs.py", env={"SMTPSEND_REQUIRE_EXAMPLES": "1"})


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, in docs/_build/html."""
    install(session, "docs")
    session.run("sphinx-build", "-W", "-b", "html", "docs", "docs/_build/html")
