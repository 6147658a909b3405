"""Where faults stand, and which cases are run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations, product

from simulation.cases import MODES, Case
from simulation.world import FAULTS, TOO_MANY, Rules
from smtpsend._protocol.quirks import AfterData
from smtpsend.errors import Reply


Step = tuple[str, int]
"""A verb, and how many times it came by then."""


def _times(most: int, *verbs: str) -> list[Step]:
    return [(verb, n) for verb in verbs for n in range(1, most + 1)]


_BY_DATA = _times(4, "mail", "data", "content") + _times(8, "rcpt") + _times(2, "rset")
PLACES: dict[str, list[Step]] = {
    "single": _BY_DATA,
    "group": _BY_DATA,
    "chain": _BY_DATA,
    "window": _times(3, "mail", "bdat")
    + _times(6, "rcpt")
    + _times(2, "rset")
    + _times(1, "ehlo"),
    "alone": _times(1, "mail", "bdat", "quit") + _times(2, "rcpt"),
    "quit": _times(1, "mail", "data", "content", "quit") + _times(2, "rcpt"),
}
"""Each command that a case of a mode can have, with two recipients to a message."""

_REFUSABLE = _times(2, "mail", "data", "content", "bdat") + _times(4, "rcpt")

PAIRED_MODES = ("alone", "quit")
RANDOM_CASES = 75_000


def refusals(mode: str) -> list[frozenset[Step]]:
    """Each set of at most two commands that a server refuses, of the first messages."""
    steps = [step for step in _REFUSABLE if step in PLACES[mode]]
    return [frozenset(x) for size in range(3) for x in combinations(steps, size)]


def single_faults(mode: str, fault: str) -> Iterator[Case]:
    """A fault at each place, with each set of refusals."""
    known = [AfterData.REPLIES]
    if mode == "chain":
        known.append(AfterData.UNTRIED)
    for place, refuse, after in product(PLACES[mode], refusals(mode), known):
        yield Case(mode, {place: fault}, Rules(refuse), after_data=after)


def paired_faults(mode: str, fault: str) -> Iterator[Case]:
    """A fault at each place, with each other fault at each later place."""
    none: frozenset[Step] = frozenset()
    for first, second in combinations(PLACES[mode], 2):
        for other in FAULTS:
            for refuse in (none, frozenset({("rcpt", 1)}), frozenset({PLACES[mode][1]})):
                yield Case(mode, {first: fault, second: other}, Rules(refuse))


def number_of_cases() -> int:
    """How many cases there are in all."""
    single = sum(
        len(PLACES[mode]) * len(refusals(mode)) * (1 + (mode == "chain"))
        for mode in MODES
    )
    pairs = sum(len(list(combinations(PLACES[mode], 2))) for mode in PAIRED_MODES)
    return len(FAULTS) * single + len(FAULTS) ** 2 * 3 * pairs + RANDOM_CASES


_LIMITS = (None, None, None, None, 1)
_AFTER_CONTENT = ("replies", "replies", "replies", "loses", "refuses", "closes")
_BDAT = ("known", "known", "known", "known", "swallowed", "commands")
_TOO_MANY = (TOO_MANY, TOO_MANY, Reply(552, "5.5.3", "too many recipients"))
_KNOWN = (AfterData.REPLIES, AfterData.REPLIES, AfterData.UNTRIED)


def random_case(random: random.Random) -> Case:
    """A server with any faults, refusals and rules."""
    choice, mode = random.choice, random.choice(MODES)
    places = PLACES[mode]
    return Case(
        mode,
        {choice(places): choice(FAULTS) for _ in range(choice((0, 1, 1, 1, 2, 2)))},
        Rules(
            refuse=frozenset(random.sample(_REFUSABLE, choice((0, 0, 1, 1, 2, 3)))),
            limit=choice(_LIMITS),
            too_many=choice(_TOO_MANY),
            after_content=choice(_AFTER_CONTENT),
            bdat=choice(_BDAT),
            rset=random.random() < 0.93,
            ehlo=random.random() < 0.93,
        ),
        require_all=mode == "single" and random.random() < 0.3,
        recipients=choice((1, 2, 2, 3)),
        after_data=choice(_KNOWN),
    )
