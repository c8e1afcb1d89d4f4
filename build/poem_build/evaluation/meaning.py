"""A poem, its hand and its title → whether it speaks of this hand rather than of any, by the lexicon.

What a wording is worth (quiet, patience …) stands in the game's `values.json`, else it is found by the words of it;
the store has the words by which each value is told. A poem is held against its own hand and against a stranger's.
"""

from collections.abc import Sequence

from poem.game import Game
from poem.hand import PAIRS, Hand, Pair
from poem.store import store
from poem_build.judge.language import content_lemmas


def spoken(game: Game, hand: Hand, poem: str) -> float:
    """The share of the hand's wordings of whose values a word stands in the poem."""
    return sum(_speaks(game, pair, poem) for pair in hand.pairs) / PAIRS


def title_fit(title: str, others: Sequence[str], poem: str) -> float:
    """The share of the title's words that come back in the poem, less the mean share of the other candidates'."""
    there = content_lemmas(poem)
    rest = [_echo(other, there) for other in others if other != title]
    return _echo(title, there) - (sum(rest) / len(rest) if rest else 0.0)


def _speaks(game: Game, pair: Pair, poem: str) -> bool:
    known = game.values.get(pair.wording.id) if game.owns(pair.card) else None
    values = known or store().values_of(pair.card, pair.wording)
    return any(word in poem for value in values for word in store().values.get(value, ()))


def _echo(title: str, there: frozenset[str]) -> float:
    lemmas = content_lemmas(title)
    return len(lemmas & there) / len(lemmas) if lemmas else 0.0
