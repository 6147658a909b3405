"""The protocol core against a simulated server: nothing that it reports is untrue.

A case is a server with its faults, refusals and rules; `judge` compares what is reported
of each message with what the server accepted.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable

import pytest
from simulation.cases import MODES, Case, judge, reported, run
from simulation.driver import run_driven
from simulation.places import (
    PAIRED_MODES,
    PLACES,
    RANDOM_CASES,
    number_of_cases,
    paired_faults,
    random_case,
    single_faults,
)
from simulation.world import FAULTS


CHUNKS = 30
DRIVEN = 4000


def judged(cases: Iterable[Case]) -> Counter[str]:
    """Run and judge each case; name the first one that is judged wrong."""
    kinds: Counter[str] = Counter()
    for case in cases:
        try:
            kinds.update(judge(case, run(case)))
        except Exception as error:
            raise AssertionError(f"{error!r}: {case}") from error
    return kinds


def test_there_are_enough_cases():
    """The cases of this file are at least 200,000."""
    assert number_of_cases() >= 200_000


@pytest.mark.parametrize("mode", MODES)
def test_each_place_exists(mode):
    """A fault can happen at each place, so that no case is counted that tests nothing."""
    reached = set()
    for case in single_faults(mode, "4yz"):
        if run(case).world.hits:
            reached |= {*case.faults}
    assert reached == {*PLACES[mode]}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("mode", MODES)
def test_one_fault(mode, fault):
    """A fault at any place makes no report untrue, whatever else the server refuses."""
    kinds = judged(single_faults(mode, fault))
    # The exception of `unseen` for one fault: an extra reply right in front of the reply
    # to the content, with nothing pipelined after it. QUIT after the content closes it.
    if kinds["unseen"]:
        assert fault in ("stray ok before", "stray no before")
        assert mode in ("single", "group", "chain")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("mode", PAIRED_MODES)
def test_two_faults(mode, fault):
    """Nor do two faults, where QUIT follows the only message."""
    judged(paired_faults(mode, fault))


@pytest.mark.parametrize("seed", range(CHUNKS))
def test_random_servers(seed):
    """Nor does a server with up to two faults that breaks rules of its own as well."""
    r = random.Random(seed)
    kinds = judged(random_case(r) for _ in range(RANDOM_CASES // CHUNKS))
    assert kinds["unseen"] < 0.01 * kinds.total()


@pytest.mark.parametrize("seed", range(4))
def test_the_driver_reports_the_same(seed):
    """The driver and the channel report the same, wherever the replies are cut."""

    async def main():
        r = random.Random(seed)
        for _ in range(DRIVEN // 4):
            case = random_case(r)
            expected, driven = run(case), await run_driven(case, r)
            judge(case, driven)
            assert reported(driven) == reported(expected), case
            assert driven.world.accepted == expected.world.accepted, case

    asyncio.run(main())
