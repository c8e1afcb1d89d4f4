"""A game → a table of poems written beforehand, which the service answers from when no model does."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import comb, prod
from pathlib import Path
from random import Random
from typing import Any

from poem.composer import compose
from poem.deck import Deck
from poem.errors import TableError
from poem.game import Game
from poem.hand import PAIRS, deal, draw_candidates
from poem.pattern import pattern_key
from poem.table import BY_HAND, Entry, Table, export_table, import_entries, write_table
from poem_build.data.hands import possible_hands
from poem_build.progress import progress
from poem_build.teacher.composer import Composer


def build(game: Game, target: Path, hands: int, seed: int, written: Path | None = None) -> int:
    """Write a table for that many distinct hands; how many it has.

    Poems by hand come first, then those of a precomputed_poems.json that a teacher left, then composed ones.
    """
    entries = progress(_entries(game, hands, seed, written), "table")
    return write_table(target, islice(entries, hands), game.deck)


def build_for_stand(game: Game, target: Path, hands: int, seed: int, written: Path | None = None) -> int:
    """Write the table that a stand deals from: what was written beforehand alone, or composed poems where nothing was.

    A composed poem beside them would be dealt as if somebody had written it, and the service composes one anyway.
    """
    given = _given(game, written)
    return write_table(target, given or islice(_entries(game, hands, seed, None), hands), game.deck)


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


def coverage(game: Game, source: Path) -> dict[str, Any]:
    """How likely a table has the very hand that is dealt, or its cards alone, where any hand is dealt or prepared ones.

    Reckoned, not tried: the game deals five categories, a card of each, and a player picks each wording equally often.
    """
    table = Table.open(source)
    try:
        entries = list(table.entries(game.deck))
    finally:
        table.close()
    deck = game.deck
    sets = Counter(frozenset(pair.card.id for pair in entry.hand.pairs) for entry in entries)
    exact = sum(_dealt(deck, cards) * count / _wordings(deck, cards) for cards, count in sets.items())
    some = sum(_dealt(deck, cards) for cards in sets)
    prepared = sum(count / _wordings(deck, cards) for cards, count in sets.items()) / max(1, len(sets))
    return {
        "poems": len(entries),
        "by_source": dict(Counter(entry.source for entry in entries)),
        "card_sets": len(sets),
        "any": {"exact": exact, "same_cards": some - exact, "composed": 1 - some},
        "prepared": {"exact": prepared, "same_cards": 1 - prepared, "composed": 0.0},
    }


def taught(game: Game, source: Path) -> bool:
    """Whether a teacher wrote poems of the table, not people and the composer alone."""
    table = Table.open(source)
    try:
        return any(entry.source not in (BY_HAND, Composer.name) for entry in table.entries(game.deck))
    finally:
        table.close()


def _dealt(deck: Deck, cards: frozenset[str]) -> float:
    """How likely the game deals exactly these cards; nothing for a set that it never deals."""
    categories = [deck.by_id[card].category for card in cards]
    if len(set(categories)) < PAIRS:
        return 0.0
    return 1 / (comb(len(deck.categories), PAIRS) * prod(len(deck.categories[name]) for name in categories))


def _wordings(deck: Deck, cards: frozenset[str]) -> int:
    return prod(len(deck.by_id[card].poems) for card in cards)


def _entries(game: Game, hands: int, seed: int, written: Path | None) -> Iterator[Entry]:
    """Every hand once, in the order in which they are wanted."""
    deck = game.deck
    possible = possible_hands(deck)
    if hands > possible:
        raise TableError(f"--hands {hands}: the deck deals only {possible} different hands; give at most that")
    seen: set[str] = set()
    for entry in _given(game, written):
        seen.add(pattern_key(entry.hand))
        yield entry
    rng = Random(f"table {seed}")
    while len(seen) < possible:
        hand = deal(deck, rng)
        key = pattern_key(hand)
        if key not in seen:
            seen.add(key)
            composition = compose(game, hand, draw_candidates(deck, rng), rng.getrandbits(32))
            if not composition.waived:  # the table holds what keeps every rule
                yield Entry(hand, composition.answer, Composer.name)


def _given(game: Game, written: Path | None) -> list[Entry]:
    """Poems by hand, then those that a teacher left, one a hand."""
    given = [Entry(one.hand, one.answer, BY_HAND) for one in game.poems]
    given += import_entries(written, game.deck) if written else ()
    found: dict[str, Entry] = {}
    for entry in given:
        found.setdefault(pattern_key(entry.hand), entry)
    return list(found.values())
