"""A game → a table of poems written beforehand, which the service answers from when no model does."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from poem.composer import compose
from poem.deck import Deck
from poem.errors import TableError
from poem.game import Game
from poem.hand import PAIRS, deal, draw_candidates
from poem.pattern import pattern_key
from poem.table import Entry, Table, export_table, import_entries, write_table
from poem_build.progress import progress


def build(game: Game, target: Path, hands: int, seed: int) -> int:
    """Write a table of composed poems for that many distinct hands; how many it has."""
    return write_table(target, progress(_composed(game, hands, seed), "composing"), game.deck)


def import_json(deck: Deck, source: Path, target: Path) -> int:
    """Write a table from a precomputed_poems.json, every entry checked; how many it has."""
    return write_table(target, import_entries(source, deck), deck)


def export_json(deck: Deck, source: Path, target: Path) -> int:
    """Write a table's entries as precomputed_poems.json; how many there are."""
    table = Table.open(source)
    try:
        return export_table(table, deck, target)
    finally:
        table.close()


def _composed(game: Game, hands: int, seed: int) -> Iterator[Entry]:
    deck = game.deck
    possible = _possible_hands(deck)
    if hands > possible:
        raise TableError(f"--hands {hands}: the deck deals only {possible} different hands; give at most that")
    rng = Random(f"table {seed}")
    seen: set[str] = set()
    while len(seen) < hands:
        hand = deal(deck, rng)
        key = pattern_key(hand)
        if key not in seen:
            seen.add(key)
            composition = compose(game, hand, draw_candidates(deck, rng), rng.getrandbits(32))
            if not composition.waived:  # the table holds what keeps every rule
                yield Entry(hand, composition.answer, "composer")


def _possible_hands(deck: Deck) -> int:
    """Wordings of five different categories: the fifth elementary symmetric polynomial of the categories' sizes."""
    ways = [1, *[0] * PAIRS]
    for cards in deck.categories.values():
        size = sum(len(card.poems) for card in cards)
        for n in range(PAIRS, 0, -1):
            ways[n] += ways[n - 1] * size
    return ways[PAIRS]
