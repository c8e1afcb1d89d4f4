"""What a teacher is: a question and what was said before go in, a text with its price in tokens comes out.

What may go wrong on the way is an exception of one of four kinds, whoever the teacher is: it is busy, it failed for
now and took nothing for it, the answer was lost on its way, or it refuses us for good (`TeacherError`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from poem.hand import Hand

Ended = Literal["stop", "length", "safety"]
HOUR = 3600
"""Seconds; what a teacher keeps for us is paid by the hour."""


@dataclass(frozen=True, slots=True)
class Play:
    """A hand and its title candidates: what a teacher that puts poems together has to be told."""

    hand: Hand
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A question. `key` names it for ever: the same question of the same teacher has the same."""

    key: str
    system: str
    user: str
    schema: Mapping[str, Any]
    """JSON schema of the answer."""
    seed: int
    play: Play | None = None
    """None if no poem is asked for."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer that broke rules, and what was said about it."""

    text: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer: of the prompt, of that part of it which the teacher had kept, and of the answer."""

    prompt: int = 0
    cached: int = 0
    output: int = 0
    stored: float = 0
    """Tokens times hours for which fixed prompts were put aside since the answer before this one."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came back, and why it ended where it does."""

    text: str
    usage: Usage = Usage()
    ended: Ended = "stop"


class Teacher(Protocol):
    """Whoever answers."""

    @property
    def name(self) -> str:
        """Of its kind: `gemini`."""

    @property
    def model(self) -> str:
        """As its maker and a price list call it; empty where there is none."""

    async def say(self, ask: Ask, turns: Sequence[Turn]) -> Said:
        """The answer to the question, after those that did not do. Raises what stands at the top of this module."""

    async def close(self) -> None:
        """Let go of connections, and of what the teacher keeps for us."""


class BusyError(Exception):
    """Too many questions; after so many seconds there may be more."""

    def __init__(self, seconds: float | None = None) -> None:
        super().__init__("too many requests (429)")
        self.seconds = seconds


class FailedError(Exception):
    """An error of the teacher's own, for which nothing is taken; it may be gone the next time."""


class LostError(Exception):
    """No answer came although the question may have been answered, and paid for."""
