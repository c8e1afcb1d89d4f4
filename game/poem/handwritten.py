"""`poems.jsonl` → the poems written by hand for dealt hands: the house's standard.

Twenty are marked as held out, so that what a model writes can be read beside them: their pattern keys put
them in the data set's test split, which no training reads. The tests of `build/` hold the twenty to that.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from poem.deck import builtin_deck
from poem.hand import Answer, Hand, hand_of


@dataclass(frozen=True, slots=True)
class HandWritten:
    """A hand of the built-in deck, the poem written for it, and whether it is one of the twenty held out."""

    hand: Hand
    answer: Answer
    held_out: bool


@cache
def handwritten() -> tuple[HandWritten, ...]:
    """All of them, in file order."""
    lines = (resources.files("poem") / "poems.jsonl").read_text("utf-8").splitlines()
    entries = (json.loads(line) for line in lines)
    return tuple(
        HandWritten(
            hand_of(builtin_deck(), [(card_id, wording_id) for card_id, wording_id in entry["pairs"]]),
            Answer(entry["title"], entry["poem"]),
            entry["held_out"],
        )
        for entry in entries
    )
