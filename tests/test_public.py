"""The public face: names, signatures, fields and the error tree, as in the design."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import re
import shutil
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import smtpsend
from smtpsend import errors
from smtpsend.errors import Phase


PACKAGE = Path(smtpsend.__file__).parent
REQUIRED = inspect.Parameter.empty

ERROR_TREE = [
    *("AuthError", "CertificateError", "ConfigError", "ConnectError", "ConnectionLost"),
    *("DeliveryUnknown", "RecipientsRefused", "Rejected", "SendError", "TLSError"),
]
NAMES = sorted(
    [
        *("AsyncClient", "Client", "Delivery", "External", "Method", "OAuth2"),
        "Outcome",
        *(
            "Password",
            "Policy",
            "Prepared",
            "Receipt",
            "Report",
            "Server",
            "compose",
            "diagnose",
        ),
        *("diagnose_async", "prepare", "send", "send_async"),
        *ERROR_TREE,
    ]
)
ERROR_NAMES = [
    *("Attempt", "AuthError", "CertificateError", "ConfigError", "ConnectError"),
    *("ConnectionLost", "DeliveryUnknown", "Event", "Phase", "RecipientsRefused"),
    *("Rejected", "Reply", "SendError", "TLSError"),
]

SEND = {"sender": None, "recipients": None, "require_all": False, "timeout": None}
SEND |= {"delivery": None}
CLIENT = {
    "max_connections": 4,
    "max_messages": 100,
    "idle_timeout": 30.0,
    "max_age": 300.0,
    "window": 64,
    "max_rate": None,
    "on_attempt": None,
    "on_outcome": None,
}
MANY = {"require_all": False, "timeout": None, "delivery": None}

# Function: its positional parameters, and its keyword-only ones, with their defaults.
SIGNATURES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "send": (smtpsend.send, {"message": REQUIRED, "server": REQUIRED}, SEND),
    "send_async": (smtpsend.send_async, {"message": REQUIRED, "server": REQUIRED}, SEND),
    "Client": (smtpsend.Client, {"server": REQUIRED}, CLIENT),
    "AsyncClient": (smtpsend.AsyncClient, {"server": REQUIRED}, CLIENT),
    "Client.send": (smtpsend.Client.send, {"self": REQUIRED, "message": REQUIRED}, SEND),
    "AsyncClient.send": (
        smtpsend.AsyncClient.send,
        {"self": REQUIRED, "message": REQUIRED},
        SEND,
    ),
    "Client.send_many": (
        smtpsend.Client.send_many,
        {"self": REQUIRED, "messages": REQUIRED},
        MANY,
    ),
    "AsyncClient.send_many": (
        smtpsend.AsyncClient.send_many,
        {"self": REQUIRED, "messages": REQUIRED},
        MANY,
    ),
    "Client.check": (smtpsend.Client.check, {"self": REQUIRED}, {"timeout": None}),
    "Client.close": (smtpsend.Client.close, {"self": REQUIRED}, {}),
    "AsyncClient.aclose": (smtpsend.AsyncClient.aclose, {"self": REQUIRED}, {}),
    "Delivery": (
        smtpsend.Delivery,
        {},
        {"notify": (), "ret": None, "envid": None, "require_tls": False},
    ),
    "prepare": (
        smtpsend.prepare,
        {"message": REQUIRED},
        {"sender": None, "recipients": None, "delivery": None},
    ),
    "Password": (smtpsend.Password, {"username": REQUIRED, "password": REQUIRED}, {}),
    "External": (smtpsend.External, {"username": ""}, {}),
    "OAuth2": (smtpsend.OAuth2, {"username": REQUIRED, "token": REQUIRED}, {}),
    "Method": (smtpsend.Method, {"port": REQUIRED, "security": REQUIRED}, {}),
    "compose": (
        smtpsend.compose,
        {},
        {
            "sender": REQUIRED,
            "to": (),
            "cc": (),
            "bcc": (),
            "reply_to": (),
            "subject": "",
            "text": None,
            "html": None,
            "attachments": (),
            "inline": None,
            "headers": None,
            "calendar": None,
            "in_reply_to": None,
            "references": (),
            "unsubscribe": (),
        },
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    """A function takes what the design says, with its defaults, keyword-only or not."""
    function, positional, keywords = SIGNATURES[name]
    parameters = inspect.signature(function).parameters.values()
    kinds = inspect.Parameter
    at_places = {
        p.name: p.default for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD
    }
    by_name = {p.name: p.default for p in parameters if p.kind is kinds.KEYWORD_ONLY}
    assert list(at_places.items()) == list(positional.items())
    assert by_name == keywords
    assert len(parameters) == len(at_places) + len(by_name)


@pytest.mark.parametrize("name", ["send_async", "AsyncClient.send", "AsyncClient.check"])
def test_coroutine_functions(name: str) -> None:
    """What has to be awaited says so."""
    owner, _, attribute = name.rpartition(".")
    holder = getattr(smtpsend, owner) if owner else smtpsend
    assert inspect.iscoroutinefunction(getattr(holder, attribute))


def test_server_and_policy() -> None:
    """The keyword-only fields of Server and Policy, and their defaults."""
    parameters = inspect.signature(smtpsend.Server).parameters
    assert list(parameters) == [
        "host",
        "auth",
        "policy",
        "cafile",
        "ssl_context",
        "ehlo_name",
        "fingerprint",
        "redirect_to",
        "proxy",
        "source_address",
        "tls_name",
    ]
    assert [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY] == list(
        parameters
    )[2:]
    server = smtpsend.Server("host.example")
    assert (server.auth, server.cafile, server.ssl_context, server.ehlo_name) == (
        None,
    ) * 4
    assert server.policy == smtpsend.Policy()
    found = inspect.signature(smtpsend.Policy).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in found)
    method = smtpsend.Method
    assert {p.name: p.default for p in found} == {
        "methods": (
            method(587, "starttls"),
            method(465, "implicit"),
            method(2525, "starttls"),
        ),
        "stagger": 0.3,
        "connect_timeout": 10,
        "reply_timeout": 60,
        "final_timeout": 600,
        "deadline": 900,
        "on_certificate_error": "stop",
        "remember": 600,
        "pipelining": True,
        "chunking": True,
        "on_temporary_refusal": "next",
        "retry_interval": 30,
    }


FIELDS = {
    errors.Reply: ["code", "enhanced", "text"],
    errors.Attempt: ["method", "address", "phase", "error", "started", "elapsed"],
    smtpsend.Receipt: [
        "message_id",
        "method",
        "address",
        "tls",
        "reply",
        "accepted",
        "refused",
        "attempts",
        "elapsed",
    ],
    smtpsend.Outcome: ["index", "message", "receipt", "error"],
}


@pytest.mark.parametrize("kind", FIELDS)
def test_fields(kind: Any) -> None:
    """The values have the design's fields in its order; what was added comes last."""
    fields = [field.name for field in dataclasses.fields(kind)]
    assert fields[: len(FIELDS[kind])] == FIELDS[kind]
    added = dataclasses.fields(kind)[len(FIELDS[kind]) :]
    assert all(field.default is not dataclasses.MISSING for field in added)


VALUES = (*FIELDS, smtpsend.Server, smtpsend.Policy, smtpsend.Method)


@pytest.mark.parametrize(
    "kind",
    [*VALUES, smtpsend.Password, smtpsend.OAuth2, smtpsend.External, smtpsend.Delivery],
)
def test_frozen(kind: Any) -> None:
    """Values cannot be changed."""
    assert kind.__dataclass_params__.frozen


TREE = {
    "SendError": (smtplib.SMTPException,),
    "ConfigError": (errors.SendError, ValueError),
    "ConnectError": (errors.SendError,),
    "CertificateError": (errors.ConnectError,),
    "TLSError": (errors.ConnectError,),
    "AuthError": (errors.SendError,),
    "Rejected": (errors.SendError,),
    "RecipientsRefused": (errors.Rejected,),
    "ConnectionLost": (errors.SendError,),
    "DeliveryUnknown": (errors.SendError,),
}


def test_tree() -> None:
    """The error tree is the design's, with no further class anywhere."""

    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(sub) for sub in kind.__subclasses__()))

    kinds = below(errors.SendError)
    assert {kind.__name__: kind.__bases__ for kind in kinds} == TREE
    assert all("__reduce__" not in vars(kind) for kind in kinds)


@pytest.mark.parametrize(
    ("module", "names"),
    [(smtpsend, NAMES), (errors, ERROR_NAMES)],
    ids=["package", "errors"],
)
def test_all(module: Any, names: list[str]) -> None:
    """`__all__` is sorted and complete, and each name has a docstring of its own."""
    assert module.__all__ == sorted(module.__all__)
    assert module.__all__ == names
    for name in names:
        thing = getattr(module, name)
        assert inspect.getdoc(thing)
        assert not (thing.__doc__ or "").startswith(f"{name}(")  # dataclass's own


@pytest.mark.parametrize("name", NAMES)
def test_methods_have_docstrings(name: str) -> None:
    """Each public method and property of a public class says what it does."""
    kind = getattr(smtpsend, name)
    members = vars(kind).items() if isinstance(kind, type) else ()
    bare = [
        key
        for key, value in members
        if not key.startswith("_")
        and (callable(value) or isinstance(value, property | classmethod))
        and not inspect.getdoc(getattr(kind, key))
    ]
    assert not bare


@pytest.mark.parametrize("name", SIGNATURES)
def test_docstrings_describe_each_parameter(name: str) -> None:
    """Each parameter of a function or class has a line of its docstring."""
    function, positional, keywords = SIGNATURES[name]
    text = inspect.getdoc(function) or ""
    for parameter in {*positional, *keywords} - {"self"}:
        assert re.search(rf"^ +(\w+, )*{parameter}(, \w+)*: \S", text, re.MULTILINE)


def alone(code: str, where: Path) -> str:
    """What `code` prints in a fresh interpreter without site-packages."""
    command = [sys.executable, "-E", "-S", "-c", code]
    return subprocess.check_output(command, cwd=where, text=True).strip()


def test_version(tmp_path: Path) -> None:
    """`__version__` is that of the installed package; a copy of the source has none."""
    assert smtpsend.__version__ == importlib.metadata.version("smtpsend")
    assert "__version__" in dir(smtpsend)
    shutil.copytree(PACKAGE, tmp_path / "smtpsend")
    assert alone("import smtpsend; print(smtpsend.__version__)", tmp_path) == "unknown"


def test_the_import_is_light() -> None:
    """`import smtpsend` loads neither what a send needs nor what the version does."""
    code = "import sys, smtpsend; print({'importlib.metadata', 'email'} & {*sys.modules})"
    assert alone(code, PACKAGE.parent) == "set()"


def test_compose_names_nothing_private() -> None:
    """What compose() says of itself names no class that a caller could not import."""
    annotations = inspect.get_annotations(smtpsend.compose, eval_str=True)
    assert "smtpsend." not in str(annotations)
    assert "Mailbox" not in (inspect.getdoc(smtpsend.compose) or "")


def test_nothing_else_is_public() -> None:
    """The package has no public name beside `__all__` but its modules."""
    public = {name for name in dir(smtpsend) if not name.startswith("_")}
    modules = {name for name in public if inspect.ismodule(getattr(smtpsend, name))}
    assert public - modules == set(NAMES)


def test_phases() -> None:
    """The phases are in the order in which they happen."""
    words = (
        "config resolve connect greeting ehlo starttls tls auth mail rcpt data content"
    )
    assert [str(phase) for phase in Phase] == [*words.split(), "final"]


def test_error_attributes() -> None:
    """SendError has the attributes that the design lists, from the start."""
    wanted = {"temporary", "timed_out", "phase", "reply", "attempts"}
    wanted |= {"message_id", "hint", "accepted"}
    assert wanted <= vars(errors.SendError("x")).keys()
