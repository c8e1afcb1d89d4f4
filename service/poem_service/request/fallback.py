"""A hand → a poem without a model: the table's for this hand, the table's for these cards, or a composed one.

Each rung has a net below it: what a table holds and whatever a composer meets, a poem comes.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from poem.composer import compose
from poem.game import Game
from poem.hand import Answer, Hand
from poem.rules import check
from poem_service.record.outcome import Source

log = logging.getLogger("poem_service.request.fallback")

SPARE = (
    "朝の光が、ゆるやかに街路をわたってくる。窓辺に置かれた椅子は、まだ夜の名残を抱いている。\n"
    "人の声は遠くほどけ、季節は静かに部屋の奥へと届く。ひとつの扉が、暮らしの輪郭を描きはじめる。\n"
    "夕べには灯りがともり、影はやわらかく床に伸びていく。帰る人の歩みに、木々の気配が寄り添う。\n"
    "ここに在るという静けさが、明日の時間を満たしていく。邸は、住まう人の物語をそっと待っている。"
)
"""For a hand that the composer cannot write about: of no card, and within the rules."""


class Lookup(Protocol):
    """What the fallback needs of the table."""

    def find(self, hand: Hand, *, by_hand: bool = False) -> Iterator[Answer]: ...


@dataclass(frozen=True, slots=True)
class Fallback:
    """An answer that no model wrote; `waived` if its giveaway rule had to be waived."""

    answer: Answer
    source: Source
    waived: bool = False


def fall_back(game: Game, hand: Hand, candidates: tuple[str, ...], seed: int, table: Lookup | None) -> Fallback:
    """The best answer at hand."""
    return look_up(game, hand, table) or _compose(game, hand, candidates, seed)


def look_up(game: Game, hand: Hand, table: Lookup | None, *, by_hand: bool = False) -> Fallback | None:
    """The table's answer, if it has one. Each is checked again: its deck may have been another."""
    if table is None:
        return None
    try:
        for answer in table.find(hand, by_hand=by_hand):
            texts = isinstance(answer.title, str) and isinstance(answer.poem, str)
            if texts and not check(answer, hand, game.deck.catchphrases):
                return Fallback(answer, "table")
    except Exception as error:  # an unreadable file, or rows of another kind: the next rung has a poem
        log.error("the table cannot be used", extra={"seen": {"error": repr(error)}})
    return None


def _compose(game: Game, hand: Hand, candidates: tuple[str, ...], seed: int) -> Fallback:
    try:
        composition = compose(game, hand, candidates, seed)
    except Exception:
        log.exception("the composer failed")
        return Fallback(Answer(candidates[seed % len(candidates)], SPARE), "composed", waived=True)
    return Fallback(composition.answer, "composed", composition.waived)
