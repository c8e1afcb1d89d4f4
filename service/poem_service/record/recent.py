"""Poems as they come → what the stand asks: how many today, and why the last ones were not the model's."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from poem_service.errors import Reason
from poem_service.record.outcome import Outcome, Source

KEPT = 10


@dataclass(frozen=True, slots=True)
class Miss:
    """A poem that was not the model's."""

    at: str
    """Local time, hours and minutes and seconds."""
    source: Source
    reason: Reason


@dataclass(slots=True)
class Recent:
    """Kept in memory, since the start and no longer."""

    misses: deque[Miss] = field(default_factory=lambda: deque(maxlen=KEPT))
    _today: Counter[str] = field(default_factory=Counter)
    _date: str = ""

    def note(self, outcome: Outcome) -> None:
        date, at = time.strftime("%Y-%m-%d %H:%M:%S").split()
        if date != self._date:
            self._date, self._today = date, Counter()
        self._today[outcome.source] += 1
        if outcome.reason is not None:
            self.misses.append(Miss(at, outcome.source, outcome.reason))

    def today(self) -> dict[str, int]:
        """Poems of today by source."""
        return dict(self._today) if self._date == time.strftime("%Y-%m-%d") else {}
