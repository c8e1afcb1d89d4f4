"""A poem and its hand → what of the five realities can still be read in it.

Three readings, each blunter on one side: the cards' own terms as they stand; the same by lemma, word for word, so that
「登った」 is as telling as 「登る」; and guessing, where somebody has to name the five realities from the poem alone
among fifteen. For each card two more of its category stand beside it: no category tells anything, chance is a third.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from poem.deck import Card, Deck, giveaway_terms
from poem.hand import PAIRS, Hand
from poem.pattern import pattern_key
from poem_build.judge.language import content_lemmas, lemmas

STRANGERS = 2
"""Beside each card."""


@dataclass(frozen=True)
class LineUp:
    """Fifteen realities in an order that tells nothing, and which are the hand's."""

    cards: tuple[Card, ...]
    own: frozenset[int]
    """Their places."""


def told_by_term(hand: Hand, poem: str) -> list[str]:
    """The cards whose terms stand in the poem."""
    return [pair.card.id for pair in hand.pairs if any(term in poem for term in giveaway_terms(pair.card))]


def told_by_lemma(hand: Hand, poem: str) -> list[str]:
    """The cards of which a term stands in the poem in any form of its words."""
    there = _spelt(lemmas(poem))
    return [pair.card.id for pair in hand.pairs if any(term in there for term in _term_lemmas(pair.card))]


def line_up(hand: Hand, deck: Deck) -> LineUp:
    """The fifteen for a hand, the same each time."""
    rng = Random(f"line-up {pattern_key(hand)}")
    own = {pair.card.id for pair in hand.pairs}
    strangers: list[Card] = []
    for pair in hand.pairs:
        taken = own | {card.id for card in strangers}
        alike = [card for card in deck.categories.get(pair.card.category, ()) if card.id not in taken]
        others = [card for card in deck.cards if card.id not in taken]
        strangers += (rng.sample(alike, len(alike)) + rng.sample(others, len(others)))[:STRANGERS]
    cards = [*(pair.card for pair in hand.pairs), *strangers]
    shuffled = tuple(rng.sample(cards, len(cards)))
    return LineUp(shuffled, frozenset(n for n, card in enumerate(shuffled) if card.id in own))


def guess(poem: str, cards: Sequence[Card]) -> frozenset[int]:
    """The five of the cards whose words have most in common with the poem's: a reader who knows nothing but words.

    Lemmas count, and half as much kanji; of equals the first are taken, whose order tells nothing.
    """
    there, kanji = content_lemmas(poem), _kanji(poem)
    score = [len(_card_lemmas(card) & there) + len(_kanji(_words(card)) & kanji) / 2 for card in cards]
    return frozenset(sorted(range(len(cards)), key=lambda n: -score[n])[:PAIRS])


def named(guessed: frozenset[int], there: LineUp) -> float:
    """The share of the hand's five realities that were named."""
    return len(guessed & there.own) / PAIRS


@cache
def _term_lemmas(card: Card) -> tuple[str, ...]:
    return tuple(_spelt(lemmas(term)) for term in giveaway_terms(card))


def _spelt(words: Sequence[str]) -> str:
    """The words so that one text of them is in another where the words are, in that order."""
    return "".join(f"\x1f{word}\x1f" for word in words)


@cache
def _card_lemmas(card: Card) -> frozenset[str]:
    return content_lemmas(_words(card))


def _words(card: Card) -> str:
    return "、".join((card.condition_text, *giveaway_terms(card)))


def _kanji(text: str) -> frozenset[str]:
    return frozenset(letter for letter in text if "一" <= letter <= "鿿")
