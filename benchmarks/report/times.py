"""What was measured, by case and driver; None for what was not."""

from __future__ import annotations

from typing import Any

from benchmarks.works.case import OURS, PEERS


class Times:
    """The results of a run.

    Args:
        results: as `python -m benchmarks` writes them.
    """

    def __init__(self, results: dict[str, Any]) -> None:
        self.cases: dict[str, Any] = results["cases"]

    def of(self, key: str, driver: str, kind: str = "seconds") -> float | None:
        """The median of a driver in a case: ``seconds``, ``cpu``, ``memory``."""
        drivers = self.cases.get(key, {}).get("drivers", {})
        value = drivers.get(driver, {}).get(kind)
        return None if value is None else float(value)

    def ours(self, key: str, kind: str = "seconds") -> list[float] | None:
        """Those of sync and async, if both were measured."""
        found = [self.of(key, name, kind) for name in OURS]
        known = [value for value in found if value is not None]
        return known if len(known) == len(OURS) else None

    def best_peer(self, key: str) -> float | None:
        """The time of the fastest peer."""
        found = [self.of(key, name) for name in PEERS]
        return min((value for value in found if value is not None), default=None)

    def over(self, key: str, base: float | None) -> list[float] | None:
        """The times of sync and async as multiples of `base`."""
        ours = self.ours(key)
        return None if ours is None or not base else [value / base for value in ours]

    def beside_healthy(self, key: str) -> list[tuple[float, float]] | None:
        """Each of ours, and the healthy sends that ran in turn with it."""
        pairs = [(self.of(key, name), self.of(key, f"{name} healthy")) for name in OURS]
        found = [(a, b) for a, b in pairs if a is not None and b is not None]
        return found if len(found) == len(OURS) else None
