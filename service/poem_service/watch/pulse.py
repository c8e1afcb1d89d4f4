"""Signs of life of the model's server, over all that is asked of it → how long each ask's silence is borne.

A server that works off one ask after the other is silent towards those that wait in it, and that is no hang:
an ask's silence counts from the last sign of life that anybody got. Headers are such a sign too.
"""

import asyncio
from dataclasses import dataclass, field

NEVER = float("-inf")


@dataclass(eq=False, slots=True)
class Beat:
    """One ask as the pulse sees it; times are the loop's."""

    timer: asyncio.Timeout
    begun: float
    end: float
    """When its time is up, however lively the server is."""
    first_s: float
    """Silence that is borne before a sign of its own."""
    gap_s: float
    """Silence that is borne between two pieces."""
    alive: bool = False
    crowd: int = 1
    """As many were at the server at once while this one was, itself included."""


@dataclass(slots=True)
class Pulse:
    """Told of every ask and every sign; moves the asks' timers."""

    last: float = NEVER
    _beats: set[Beat] = field(default_factory=set)

    def begin(self, beat: Beat) -> None:
        self._beats.add(beat)
        for other in self._beats:
            other.crowd = max(other.crowd, len(self._beats))
        _move(beat, beat.begun + beat.first_s)

    def headers(self, beat: Beat, now: float) -> None:
        """The server took the ask up or queued it; from here only the ask's own time ends it."""
        beat.alive = True
        _move(beat, beat.end)
        self._sign(now)

    def piece(self, beat: Beat, now: float) -> None:
        beat.alive = True
        _move(beat, now + beat.gap_s)
        self._sign(now)

    def end(self, beat: Beat) -> None:
        self._beats.discard(beat)

    def was_queued(self, beat: Beat, now: float) -> bool:
        """Whether an ask without any sign of its own only waited behind others, to whom the server was lively."""
        return not beat.alive and self.last > beat.begun and now - self.last < beat.first_s

    def _sign(self, now: float) -> None:
        self.last = now
        for beat in self._beats:
            if not beat.alive:
                _move(beat, now + beat.first_s)


def _move(beat: Beat, until: float) -> None:
    if not beat.timer.expired():
        beat.timer.reschedule(min(beat.end, until))
