"""How fast a teacher is asked: so many questions a minute, fewer after it has said that these are too many."""

import asyncio
from typing import Any

_SLOWEST = 1 / 32
"""Of the rate that was asked for."""
_FASTER_AFTER = 10
"""Answers in a row after which the rate is doubled, up to the one that was asked for."""


class Pace:
    """A bucket that lets one question through at a time. It goes by the loop's clock, which nobody can set."""

    def __init__(self, per_minute: float) -> None:
        self._wanted = self.per_minute = per_minute
        self._limiter = self._bucket()
        self._not_before = 0.0
        self._row = 0

    async def turn(self) -> None:
        """Return when the next question may go out."""
        passed = None
        while passed is not self._limiter or self._wait() > 0:  # the rate has changed, or a refusal came meanwhile
            if (wait := self._wait()) > 0:
                await asyncio.sleep(wait)
            passed = self._limiter
            await passed.acquire()

    def too_fast(self, seconds: float | None) -> None:
        """The teacher has refused a question for their number; it may have said for how long."""
        if self._wait() > 0:
            return  # one of those that were out with the one that slowed us down
        self._change(max(self.per_minute / 2, self._wanted * _SLOWEST))
        pause = seconds if seconds is not None else 60 / self.per_minute
        self._not_before = asyncio.get_running_loop().time() + pause

    def well(self) -> None:
        """A question was answered."""
        if self._wait() > 0:
            return  # it went out at the rate that was too fast
        self._row += 1
        if self._row >= _FASTER_AFTER and self.per_minute < self._wanted:
            self._change(min(self.per_minute * 2, self._wanted))

    def _wait(self) -> float:
        return self._not_before - asyncio.get_running_loop().time()

    def _change(self, per_minute: float) -> None:
        self.per_minute, self._row = per_minute, 0
        self._limiter = self._bucket()

    def _bucket(self) -> Any:
        from aiolimiter import AsyncLimiter

        return AsyncLimiter(1, 60 / self.per_minute)
