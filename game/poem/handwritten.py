"""`poems.jsonl` → the poems written by hand for dealt hands: the house's standard.

Twenty of them are held out of every training, so that what a model writes can be read beside them.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from poem.deck import builtin_deck
from poem.hand import Answer, Hand, hand_of


@dataclass(frozen=True, slots=True)
class HandWritten:
    """A hand of the built-in deck, the poem written for it, and whether training may see it."""

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
