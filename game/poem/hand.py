"""A `Deck` and a seed → a hand as the game deals it, with its 20 title candidates."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from poem.deck import CANDIDATES, Card, Deck, Wording
from poem.errors import HandError

PAIRS = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """A card and the wording picked for it."""

    card: Card
    wording: Wording

    def as_json(self) -> dict[str, Any]:
        """The pair in the game's own shape."""
        return {"conditionCard": self.card.as_json(), "selectedPoem": self.wording.as_json()}


@dataclass(frozen=True, slots=True)
class Hand:
    """Five pairs of distinct cards, in the player's order.

    Raises `HandError` if the pairs are not five, a card comes twice or a wording is another card's.
    """

    pairs: tuple[Pair, ...]

    def __post_init__(self) -> None:
        if len(self.pairs) != PAIRS:
            raise HandError(f"a hand has exactly {PAIRS} pairs, got {len(self.pairs)}")
        if len({pair.card.id for pair in self.pairs}) != PAIRS:
            raise HandError("a hand has five different cards; a card id comes twice")
        for pair in self.pairs:
            if pair.wording not in pair.card.poems:
                raise HandError(f"wording {pair.wording.id!r} is not one of card {pair.card.id!r}")

    def ids(self) -> list[tuple[str, str]]:
        """(card id, wording id) of each pair, in the player's order."""
        return [(pair.card.id, pair.wording.id) for pair in self.pairs]

    def as_json(self) -> list[dict[str, Any]]:
        """The hand as the game sends it in `selectedPairs`."""
        return [pair.as_json() for pair in self.pairs]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the player gets: a title and a poem, paragraphs separated by one line break."""

    title: str
    poem: str


def deal_cards(deck: Deck, rng: Random) -> tuple[Card, ...]:
    """Five cards of five different categories, as the game deals them."""
    categories = deck.categories
    return tuple(rng.choice(categories[name]) for name in rng.sample(list(categories), PAIRS))


def deal(deck: Deck, rng: Random) -> Hand:
    """Five dealt cards with a wording picked at random for each."""
    return Hand(tuple(Pair(card, rng.choice(card.poems)) for card in deal_cards(deck, rng)))


def draw_candidates(deck: Deck, rng: Random) -> tuple[str, ...]:
    """The 20 catch-copies that the title is picked from."""
    return tuple(rng.sample(deck.catchphrases, CANDIDATES))


def hand_of(deck: Deck, ids: Iterable[tuple[str, str]]) -> Hand:
    """The hand of the given (card id, wording id) pairs; raises `HandError` for an id the deck lacks."""
    pairs = []
    for card_id, wording_id in ids:
        card = deck.by_id.get(card_id)
        if card is None:
            raise HandError(f"card {card_id!r} is not in the deck")
        wording = next((w for w in card.poems if w.id == wording_id), None)
        if wording is None:
            raise HandError(f"wording {wording_id!r} is not one of card {card_id!r}")
        pairs.append(Pair(card, wording))
    return Hand(tuple(pairs))
