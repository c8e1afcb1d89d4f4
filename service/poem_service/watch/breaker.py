"""Failures and successes → whether the model is asked: a circuit breaker that is told the time.

closed → (`threshold` failures in a row) → open → (`cooldown_s`) → half-open → closed or open again.
Half-open is for a trial of the service's own; no player waits on a model that just failed.
"""

from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """The three states."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True)
class Breaker:
    """Counts failures in a row."""

    threshold: int = 3
    cooldown_s: float = 10.0
    failures: int = 0
    opened_at: float | None = None

    def state(self, now: float) -> BreakerState:
        if self.opened_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if now - self.opened_at >= self.cooldown_s else BreakerState.OPEN

    def fail(self, now: float) -> None:
        self.failures += 1
        if self.failures >= self.threshold:
            self.opened_at = now

    def succeed(self) -> None:
        self.failures = 0
        self.opened_at = None
