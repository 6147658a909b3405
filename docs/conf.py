"""The documentation: ``python -m sphinx -W -b html docs docs/_build/html`` builds it."""

from __future__ import annotations

from importlib.metadata import version as version_of

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import smtpsend
from smtpsend import Policy, errors
from smtpsend._events import HINTS
from smtpsend._model.diagnosis.refused_logins import TABLE as REFUSED_LOGINS
from smtpsend._model.policy.table import TABLE
from smtpsend.cli.exits import TABLE as TABLE_OF_EXITS


project = "smtpsend"
author = "smtpsend developers"
copyright = "smtpsend developers"  # noqa: A001  # Sphinx's name
version = release = version_of("smtpsend")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "smtpsend"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sphinx = False

default_role = "py:obj"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_use_ivar = True

# A page of results need not be there yet when the others are built.
suppress_warnings = ["toc.empty_glob"]

copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True

# The reference shows each name where it is imported from, not where its code lives.
for _home in (smtpsend, errors):
    for _name in _home.__all__:
        _thing = getattr(_home, _name)
        if not (_thing.__module__ or "").startswith("smtpsend.errors"):
            _thing.__module__ = _home.__name__


def _events() -> str:
    rows = ["| `Event` | what happened | the hint |", "|---|---|---|"]
    for event, row in TABLE.items():
        rows.append(f"| `{event}` | {row.what} | {HINTS.get(event, '(no failure)')} |")
    return "\n".join(rows)


def _exit_codes() -> str:
    rows = ["| code | means |", "|---|---|"]
    rows += [f"| {code.value} | {text} |" for code, text in TABLE_OF_EXITS.items()]
    return "\n".join(rows)


def _refused_logins() -> str:
    heads = ("reply", "what it means", "for a password", "for a token", "source")
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in REFUSED_LOGINS:
        cells = (row.reply, row.cause, row.passwords, row.tokens, row.source)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _fill_in(_app: object, _name: str, source: list[str]) -> None:
    """Put what the code knows into a page, so that it never says anything else."""
    source[0] = source[0].replace("<!-- table of events -->", _events())
    source[0] = source[0].replace("<!-- table of refused logins -->", _refused_logins())
    source[0] = source[0].replace("<!-- table of exit codes -->", _exit_codes())
    source[0] = source[0].replace("<!-- policy in words -->", Policy().explain())


HOMES = (
    *("smtpsend", "smtpsend.errors", "smtpsend.prepared", "smtpsend.check"),
    *("smtpsend.testing", "smtpsend.testing.server"),
)


def _elsewhere(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element
) -> Element | None:
    """What a docstring names without the module that it lives in."""
    name = node.get("reftarget")
    for home in HOMES:
        full = f"{home}.{name}"
        if node.get("refdomain") == "py" and full in env.domains.python_domain.objects:
            domain, page = env.domains.python_domain, node["refdoc"]
            return domain.resolve_xref(env, page, app.builder, "obj", full, node, text)
    return None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _fill_in)
    app.connect("missing-reference", _elsewhere)
