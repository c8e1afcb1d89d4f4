"""Failures and successes → whether the model is asked: a circuit breaker that is told the time.

closed → (`threshold` failures in a row) → open → (a cool-down) → half-open → closed or open again.
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
    """Counts failures in a row. A trial that fails doubles the cool-down, up to `cooldown_max_s`."""

    threshold: int = 3
    cooldown_s: float = 10.0
    cooldown_max_s: float = 10.0
    failures: int = 0
    opened_at: float | None = None
    doublings: int = 0
    on_trial: bool = False

    @property
    def pause_s(self) -> float:
        """The present cool-down."""
        return max(self.cooldown_s, min(self.cooldown_max_s, self.cooldown_s * 2.0**self.doublings))

    def state(self, now: float) -> BreakerState:
        if self.opened_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if now - self.opened_at >= self.pause_s else BreakerState.OPEN

    def try_once(self, now: float) -> None:
        """Take the trial of a half-open breaker: it is open for everybody else, for another cool-down at most."""
        self.opened_at = now
        self.on_trial = True

    def fail(self, now: float) -> None:
        self.failures += 1
        if self.on_trial:
            self.doublings = min(self.doublings + 1, 16)
            self.on_trial = False
        if self.failures >= self.threshold:
            self.opened_at = now

    def succeed(self) -> None:
        self.failures = self.doublings = 0
        self.opened_at = None
        self.on_trial = False
