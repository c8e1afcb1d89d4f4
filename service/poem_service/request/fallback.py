"""A hand → a poem without a model: the table's for this hand, the table's for these cards, or a composed one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from poem.composer import compose
from poem.game import Game
from poem.hand import Answer, Hand
from poem.rules import check
from poem_service.record.outcome import Source


class Lookup(Protocol):
    """What the fallback needs of the table."""

    def find(self, hand: Hand) -> Iterator[Answer]: ...


@dataclass(frozen=True, slots=True)
class Fallback:
    """An answer that no model wrote; `waived` if its giveaway rule had to be waived."""

    answer: Answer
    source: Source
    waived: bool = False


def fall_back(game: Game, hand: Hand, candidates: tuple[str, ...], seed: int, table: Lookup | None) -> Fallback:
    """The best answer at hand. A table entry is checked again: its deck may have been another."""
    if table is not None:
        for answer in table.find(hand):
            if not check(answer, hand, game.deck.catchphrases):
                return Fallback(answer, "table")
    composition = compose(game, hand, candidates, seed)
    return Fallback(composition.answer, "composed", composition.waived)
