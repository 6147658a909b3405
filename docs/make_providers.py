"""Write the table of ``docs/providers.md``: ``python docs/make_providers.py``.

The table stands in the page itself, so that it can also be read without a build of the
documentation. A test compares it with the data.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from smtpsend._model.server.providers import Provider, providers


PAGE = Path(__file__).with_name("providers.md")
BEGIN, END = "<!-- providers: begin -->", "<!-- providers: end -->"


def table() -> str:
    """All providers, one row each."""
    rows = [
        "| name | provider | host | STARTTLS | TLS | login | as of, sources |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [_row(provider) for provider in providers().values()]
    return "\n".join(rows)


def _row(row: Provider) -> str:
    hosts = [f"`{row.host}`"]
    hosts += [f"`{name}`: `{host}`" for name, host in row.regions.items()]
    starttls = [str(m.port) for m in row.methods if m.security == "starttls"]
    implicit = [str(m.port) for m in row.methods if m.security == "implicit"]
    ports = " | ".join(", ".join(kind) or "–" for kind in (starttls, implicit))
    login = ". ".join([row.login, *row.notes])
    sources = ", ".join(f"[{urlsplit(url).hostname}]({url})" for url in row.sources)
    cells = (f"`{row.key}`", row.name, "; ".join(hosts), ports, login)
    return f"| {' | '.join(cells)} | {row.as_of}, {sources} |"


def filled(page: str) -> str:
    """The text of the page, with the table between its marks."""
    between = re.compile(f"(?<={re.escape(BEGIN)}\n).*(?={re.escape(END)})", re.DOTALL)
    return between.sub(lambda _: f"{table()}\n", page, count=1)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
