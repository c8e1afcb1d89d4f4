"""A hand → a poem without a model: the table's for this hand, the table's for these cards, or a composed one."""

from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import Protocol

from poem.composer import compose
from poem.hand import Answer, Hand
from poem.rules import check
from poem_service.record.outcome import Source


class Lookup(Protocol):
    """What the fallback needs of the table."""

    def exact(self, hand: Hand) -> list[Answer]: ...

    def same_cards(self, hand: Hand) -> list[Answer]: ...


@dataclass(frozen=True, slots=True)
class Fallback:
    """An answer that no model wrote; `waived` if its giveaway rule had to be waived."""

    answer: Answer
    source: Source
    waived: bool = False


def fall_back(
    hand: Hand, candidates: tuple[str, ...], catchphrases: Collection[str], seed: int, table: Lookup | None
) -> Fallback:
    """The best answer at hand. A table entry is checked again: its deck may have been another."""
    if table is not None:
        for find in (table.exact, table.same_cards):
            answers = find(hand)
            for answer in Random(seed).sample(answers, len(answers)):
                if not check(answer, hand, catchphrases):
                    return Fallback(answer, "table")
    composition = compose(hand, candidates, seed)
    return Fallback(composition.answer, "composed", composition.waived)
