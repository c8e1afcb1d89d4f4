"""A game → the fixed set of held-out hands that every report on it is about.

A fourth of them, as far as there are so many, are hands that have a poem by hand which no training has seen, a fourth
those that a teacher has left for testing; the others are dealt. The two stand in turn before the others, so that a
judge of the first few reads both. No draw depends on a recipe, so that two builds are asked the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from random import Random

from poem.composer import compose
from poem.errors import CompositionError
from poem.game import Game
from poem.hand import Answer, draw_candidates
from poem_build.data.examples import Example
from poem_build.data.hands import candidates_with, hands
from poem_build.store.digest import digest_of

NUMBER = 2
"""Of the way in which hands are drawn and ordered: it goes up when others are, or in another order."""
BY_HAND, TEACHER = "hand", "teacher"
_FOURTH = 4


@dataclass(frozen=True)
class Trial:
    """A hand to be played. The example's answer is the composer's poem for it, or that which was written for it."""

    example: Example
    given: Mapping[str, Answer] = field(default_factory=dict)
    """Poems that are there already, by their writer: by hand, a teacher's."""


def trials(game: Game, count: int, taught: Sequence[Example] = ()) -> list[Trial]:
    """So many hands of the set, always the same; `taught` is what a teacher wrote for testing."""
    most = max(1, count // _FOURTH)
    by_hand = [Trial(one, {BY_HAND: one.answer}) for one in islice(_by_hand(game), most)]
    by_teacher = [Trial(one, {TEACHER: one.answer}) for one in taught[:most]]
    written = [one for both in zip_longest(by_hand, by_teacher) for one in both if one][:count]
    return [*written, *islice(_dealt(game), count - len(written))]


def version(played: Sequence[Trial]) -> str:
    """The number of the set, and a digest of the hands and titles that were played."""
    content = [[trial.example.hand.ids(), trial.example.candidates] for trial in played]
    return f"{NUMBER}-{digest_of(content)[:8]}"


def _by_hand(game: Game) -> Iterator[Example]:
    rng = Random("titles 1")
    for poem in game.poems:
        if poem.held_out:
            yield Example(poem.hand, candidates_with(poem.answer.title, game.deck, rng), poem.answer)


def _dealt(game: Game) -> Iterator[Trial]:
    rng = Random("held-out hands 1")
    for hand in hands(game.deck, "test", rng):
        candidates, seed = draw_candidates(game.deck, rng), rng.getrandbits(32)
        try:
            yield Trial(Example(hand, candidates, compose(game, hand, candidates, seed).answer))
        except CompositionError:  # no words fit a deck's hand: what a model is asked is the same
            yield Trial(Example(hand, candidates, Answer(candidates[0], "")))
