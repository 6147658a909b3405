"""How large a run is: the whole, and a quick one."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.works.case import MIB


@dataclass(frozen=True)
class Scale:
    """How large a run is.

    Attributes:
        rounds: how often each driver runs.
        budget: the seconds after which no further round of a case begins.
        round_trips: the milliseconds of the links.
        far: the one of them that most work is done over.
        patience: the seconds that a careful loop gives each port.
        file: the size of a file to attach.
        recipients: of the message to many.
        bulk: the messages of a bulk over a long link, and without one.
        window: the messages of a bulk over a long link, for the default window.
        real: the messages of a bulk to a real server; a fraction of it to slow ones.
        kept: the messages over a kept connection to a real server.
        cheap: the rounds of what is quick, as a multiple.
        growth: divides the sizes in the cases about growth.
        processes: whether each process that a figure needs is started, or some only.
    """

    rounds: int
    budget: float
    round_trips: tuple[int, ...]
    far: int
    patience: float
    file: int
    recipients: int
    bulk: tuple[int, int]
    window: int
    real: int
    kept: int
    cheap: int
    growth: int
    processes: bool


WHOLE = Scale(
    rounds=3,
    budget=8.0,
    round_trips=(1, 20, 100),
    far=20,
    patience=10.0,
    file=10 * MIB,
    recipients=100_000,
    bulk=(50, 1000),
    window=200,
    real=300,
    kept=100,
    cheap=10,
    growth=1,
    processes=True,
)
QUICK = Scale(
    rounds=1,
    budget=8.0,
    round_trips=(10,),
    far=10,
    patience=0.1,
    file=MIB // 4,
    recipients=1000,
    bulk=(3, 40),
    window=20,
    real=10,
    kept=3,
    cheap=1,
    growth=100,
    processes=False,
)
