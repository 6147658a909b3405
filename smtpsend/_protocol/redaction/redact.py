"""Hides the secrets of a call in texts for people, in each form that a server may use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from smtpsend._model.identity import IdentityMap
from smtpsend._model.server.credentials import (
    Auth,
    known_secret,
    provider_of,
    shown_name,
)
from smtpsend._patterns import pattern
from smtpsend._protocol.redaction.secret_forms import (
    PART,
    SHORTEST,
    aligned,
    coded_forms,
    common,
    distinctive,
    part_of,
    parts,
    plain_forms,
    squeezed,
    unescaped,
)


_ESCAPES = ("%", "=", "&", "\\")  # each escape begins with one of these
_AT_LINE_END = pattern(r"\*\*\*[ \t]*\n")
_ENHANCED = pattern(r"^[0-9]\.[0-9]+\.[0-9]+[ \t]*", re.MULTILINE)


class Redactor:
    """Replaces the secrets of a call by ``***``.

    Attributes:
        hide: does it for the secrets of now; another one after each further secret.
    """

    def __init__(self, tokens: _Tokens | None = None, others: Sequence[str] = ()) -> None:
        self._secrets: frozenset[str] = frozenset()
        self.hide = hider(self._secrets)
        self._tokens: _Tokens | None = None
        # Before the tokens are set, because `add` would count these among them.
        self.add(*others)
        self._tokens = tokens

    def add(self, *secrets: str) -> None:
        """Hide `secrets`, and their base64 at any alignment, from now on."""
        union = self._secrets.union(secrets)
        if union != self._secrets:
            self._secrets = union
            self.hide = hider(union)
        if self._tokens is not None:
            self._tokens.add(secrets)

    def __call__(self, text: str) -> str:
        """Return `text` without the secrets; a fixed text if one cannot be cut out."""
        return self.hide(text)


class Hider:
    """Replaces certain secrets by ``***``.

    Args:
        found: what is replaced; None if there are no secrets.
        forms: the forms that hide the whole text.
    """

    def __init__(self, found: _Found | None, forms: _Forms) -> None:
        self._found = found
        self._forms = forms

    def __call__(self, text: str) -> str:
        """Return `text` without the secrets; a fixed text if one cannot be cut out."""
        if self._found is None:
            return text
        shown = self._found.replaced(text)
        if "\n" not in shown:
            return _HIDDEN if self._holds(shown) else shown
        # A server may repeat a secret over several lines, with or without an enhanced
        # status code at the beginning of each line.
        broken = (
            ("***" in shown and _AT_LINE_END.search(shown) is not None)
            or self._holds(shown)
            or self._holds(_ENHANCED.sub("", shown))
        )
        return _HIDDEN if broken else shown

    def _holds(self, text: str) -> bool:
        if self._forms.occur_in(squeezed(text)):
            return True
        if not any(first in text for first in _ESCAPES):
            return False
        return any(self._forms.occur_in(squeezed(plain)) for plain in unescaped(text))


_HIDDEN = "(hidden: it repeated a secret)"


# A hint is a piece of a form. In each run of PART characters, one piece of this length
# begins at a position that is a multiple of the step.
_STEP = 4
_HINT = PART + 1 - _STEP


class _Forms:
    """Finds the forms of several secrets in a squeezed text, in linear time."""

    def __init__(self, secrets: frozenset[str] = frozenset()) -> None:
        whole: set[str] = set()
        of_size: dict[int, set[str]] = {PART: set()}
        for secret in secrets:
            for form in plain_forms(secret):
                whole.add(form)
                size = part_of(form)
                revealing = filter(distinctive, parts(form, size))
                of_size.setdefault(size, set()).update(revealing)
            for form in coded_forms(secret):
                of_size[PART].update(found := parts(form))
                if not found:
                    whole.add(form)
        self._whole = tuple(filter(None, whole))
        self._parts = [(size, frozenset(found)) for size, found in of_size.items()]
        self._short = any(len(form) < PART for form in self._whole)
        # Nearly all texts hold no part of a secret. A few look-ups of hints prove that.
        longer = whole.union(*of_size.values())
        self._hints = frozenset(
            form[at : at + _HINT] for form in longer for at in range(_STEP)
        )

    def occur_in(self, text: str) -> bool:
        """Return whether a squeezed text has a form, or a part that reveals a secret."""
        looks = [text[at : at + _HINT] for at in range(0, len(text) - _HINT + 1, _STEP)]
        if self._hints.isdisjoint(looks) and not self._short:
            return False
        if any(form in text for form in self._whole):
            return True
        return any(
            not found.isdisjoint(
                [text[at : at + size] for at in range(len(text) - size + 1)]
            )
            for size, found in self._parts
        )


class _Found:
    """Replaces what is found of several secrets in a text.

    Args:
        beginnings: how a secret or a form of it begins, and what follows as a pattern.
    """

    def __init__(self, beginnings: set[tuple[str, str]]) -> None:
        patterns = [re.escape(beginning) + rest for beginning, rest in beginnings]
        # The longest come first: if one secret is part of another, replacing the shorter
        # one would leave the rest of the longer one readable.
        patterns.sort(key=len, reverse=True)
        self._pattern = pattern("|".join(patterns), re.IGNORECASE)
        folded = {beginning.lower() for beginning, _ in beginnings}
        # Outside ASCII, characters that are equal to `re.IGNORECASE` may differ in lower
        # case.
        self._beginnings = tuple(folded) if all(map(str.isascii, folded)) else ("",)

    def replaced(self, text: str) -> str:
        """Return `text` with ``***`` in the place of the secrets."""
        # Nearly all texts hold no secret. Without this look, each process would compile a
        # pattern, for longer than anything else of a reply takes.
        if text.isascii():
            folded = text.lower()
            if not any(beginning in folded for beginning in self._beginnings):
                return text
        return self._pattern.sub("***", text)


@lru_cache(maxsize=16)
def hider(secrets: frozenset[str]) -> Hider:
    """Return the same object for the same secrets, as long as few others are used."""
    if not secrets:
        return Hider(None, _Forms())
    beginnings: set[tuple[str, str]] = set()
    for secret in secrets:
        beginnings.add((secret, ""))
        # A secret that was cut off is found by its first half. A shorter part could occur
        # in a harmless word.
        half = max(8, len(secret) // 2)
        # If the secret has white space, ``\S*`` would not reach the end of it; _Forms
        # finds such a secret.
        one_word = not any(map(str.isspace, secret))
        if len(secret) > half and one_word and not common(secret[:half].casefold()):
            beginnings.add((secret[:half], r"\S*"))
        for form in aligned(secret.encode()):
            beginnings.add((form[:SHORTEST], r"[A-Za-z0-9+/=_-]*"))
    return Hider(_Found(beginnings), _Forms(secrets))


class _Tokens:
    """The last secrets that a provider returned; a server may repeat one later."""

    def __init__(self) -> None:
        self.last: tuple[str, ...] = ()

    def add(self, tokens: tuple[str, ...]) -> None:
        new = tuple(token for token in tokens if token not in self.last)
        self.last = (*self.last, *new)[-_MOST_TOKENS:]


_MOST_TOKENS = 4

_tokens: IdentityMap[_Tokens] = IdentityMap()


def redactor_for(auth: Auth | None, others: Sequence[str] = ()) -> Redactor:
    """Return a redactor for one call; it also hides earlier secrets of `auth`.

    Args:
        auth: the credentials of the call.
        others: further secrets of the call: those of the proxy.
    """
    tokens = None
    if auth is not None and provider_of(auth) is not None:
        tokens = _tokens.setdefault(auth, _Tokens)
    redact = Redactor(tokens, others)
    if tokens is not None:
        redact.add(*tokens.last)
    # A password file is known before it is read for the first connection.
    if (secret := known_secret(auth)) is not None:
        redact.add(secret)
    return redact


def user_shown(auth: Auth) -> str:
    """The user name to show; ``***`` if it is the secret, or was one lately."""
    tokens = _tokens.get(auth)
    is_secret = tokens is not None and auth.username in tokens.last
    return "***" if is_secret else shown_name(auth)
