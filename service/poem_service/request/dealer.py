"""A deck and the card sets that a table holds → the cards to deal."""

import secrets
from collections.abc import Iterable, Sequence
from random import Random

from poem.deck import CATEGORIES, Card, Deck
from poem.hand import deal_cards

CardSet = tuple[Card, ...]


def card_sets(deck: Deck, table_hands: Iterable[Sequence[str] | None], stale: Sequence[str]) -> tuple[CardSet, ...]:
    """Each set of cards once, in a fixed order, as the game deals: of five different categories.

    Without those that the deck has no more or has changed.
    """
    unusable = set(stale)
    ids = {tuple(sorted(hand)) for hand in table_hands if hand is not None}
    usable = sorted(one for one in ids if all(card in deck.by_id and card not in unusable for card in one))
    sets = (tuple(deck.by_id[card] for card in one) for one in usable)
    return tuple(one for one in sets if len(one) == len({card.category for card in one}) == CATEGORIES)


def deal_any(deck: Deck, seed: int | None) -> tuple[int, CardSet]:
    """Cards of the deck, and the seed that gives them again."""
    seed = secrets.randbelow(2**31) if seed is None else seed
    return seed, deal_cards(deck, Random(seed))


class Dealer:
    """Deals prepared sets, visiting all of them before any comes again; any cards where there are none."""

    def __init__(self, deck: Deck, prepared: tuple[CardSet, ...]) -> None:
        self.prepared = prepared
        self._deck = deck
        self._left: list[int] = []

    def deal(self, seed: int | None) -> tuple[int, CardSet]:
        """The cards, and the seed that gives them again."""
        if not self.prepared:
            return deal_any(self._deck, seed)
        count = len(self.prepared)
        if seed is None:
            seed = self._next() + count * secrets.randbelow(2**31 // count)
        cards = list(self.prepared[seed % count])
        Random(seed).shuffle(cards)
        return seed, tuple(cards)

    def _next(self) -> int:
        if not self._left:
            self._left = list(range(len(self.prepared)))
            Random(secrets.randbits(64)).shuffle(self._left)
        return self._left.pop()
