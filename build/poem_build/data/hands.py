"""A deck → hands of one split each, so that no hand of one is met in another.

Which split a hand belongs to follows from its pattern key alone. So whatever else is made from hands, the plain text
that a base is pretrained on, say, can leave the held-out ones out.
"""

from collections.abc import Iterator
from itertools import combinations, product
from random import Random
from typing import Literal

from poem.deck import CANDIDATES, Deck
from poem.hand import PAIRS, Hand, Pair, deal, draw_candidates
from poem.pattern import pattern_key
from poem_build.errors import DatasetError

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
# In 1,000 parts of all hands; what is left is for training.
_HELD_OUT: dict[Split, int] = {"test": 50, "valid": 25}
EXHAUSTED = 20_000
"""Deals in a row that bring no new hand of the split, after which the deck is taken to have no more."""


def split_of(hand: Hand) -> Split:
    """The split that the hand belongs to, whatever it is used for."""
    place = int(pattern_key(hand)[:8], 16) % 1000
    for split, parts in _HELD_OUT.items():
        if place < parts:
            return split
        place -= parts
    return "train"


def hands(deck: Deck, split: Split, rng: Random) -> Iterator[Hand]:
    """Endless dealt hands of one split, none twice before a small deck has dealt all that it has.

    Raises `DatasetError` if it has none.
    """
    seen: set[str] = set()
    idle = 0
    while True:
        hand = deal(deck, rng)
        key = pattern_key(hand)
        if key not in seen and split_of(hand) == split:
            seen.add(key)
            idle = 0
            yield hand
        elif (idle := idle + 1) > EXHAUSTED:
            if not seen:
                raise no_hand(split)
            seen.clear()
            idle = 0


def possible_hands(deck: Deck) -> int:
    """Wordings of five different categories: the fifth elementary symmetric polynomial of the categories' sizes."""
    ways = [1, *[0] * PAIRS]
    for cards in deck.categories.values():
        size = sum(len(card.poems) for card in cards)
        for n in range(PAIRS, 0, -1):
            ways[n] += ways[n - 1] * size
    return ways[PAIRS]


def every_hand(deck: Deck) -> Iterator[Hand]:
    """All hands that the game may deal, each once."""
    for categories in combinations(deck.categories.values(), PAIRS):
        pairs = [[Pair(card, wording) for card in cards for wording in card.poems] for cards in categories]
        yield from map(Hand, product(*pairs))


def no_hand(split: Split | None) -> DatasetError:
    """What is wrong with a deck that has none for the split, or none at all."""
    of = f" that is for {split}" if split else ""
    return DatasetError(f"the deck deals no hand{of}; give it more cards or wordings")


def candidates_with(title: str, deck: Deck, rng: Random) -> tuple[str, ...]:
    """As many title candidates as a player gets, that one somewhere among them."""
    others = [one for one in draw_candidates(deck, rng) if one != title][: CANDIDATES - 1]
    return tuple(rng.sample([title, *others], CANDIDATES))
