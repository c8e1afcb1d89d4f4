"""The deck → a table of poems written beforehand, which the service answers from when no model does."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from poem.composer import compose
from poem.deck import Deck
from poem.hand import deal, draw_candidates
from poem.pattern import pattern_key
from poem.table import Entry, Table, export_table, import_entries, write_table
from poem_build.progress import progress


def build(deck: Deck, target: Path, hands: int, seed: int) -> int:
    """Write a table of composed poems for that many distinct hands; how many it has."""
    return write_table(target, progress(_composed(deck, hands, seed), "composing"), deck)


def import_json(deck: Deck, source: Path, target: Path) -> int:
    """Write a table from a precomputed_poems.json, every entry checked; how many it has."""
    return write_table(target, import_entries(source, deck), deck)


def export_json(deck: Deck, source: Path, target: Path) -> int:
    """Write a table's entries as precomputed_poems.json; how many there are."""
    table = Table(source)
    try:
        return export_table(table, deck, target)
    finally:
        table.close()


def _composed(deck: Deck, hands: int, seed: int) -> Iterator[Entry]:
    rng = Random(f"table {seed}")
    seen: set[str] = set()
    while len(seen) < hands:
        hand = deal(deck, rng)
        key = pattern_key(hand)
        if key not in seen:
            seen.add(key)
            yield Entry(hand, compose(hand, draw_candidates(deck, rng), rng.getrandbits(32)).answer, "composer")
