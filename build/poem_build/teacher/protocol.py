"""What a teacher is to whoever makes a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from poem.hand import Answer, Hand


@dataclass(frozen=True, slots=True)
class Lesson:
    """A poem for a hand, and its price in US dollars."""

    answer: Answer
    cost_usd: float = 0.0


class Teacher(Protocol):
    """Whoever writes the poems that a model learns from."""

    @property
    def name(self) -> str:
        """As a data set tells it."""

    def write(self, hand: Hand, candidates: Sequence[str], seed: int) -> Lesson | None:
        """A poem for the hand under one of the titles; None if there is none that keeps every rule."""
