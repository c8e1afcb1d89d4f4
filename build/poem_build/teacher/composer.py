"""The composer as a teacher: it costs nothing and knows only the sentences that it was given."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import poem
from poem.composer import compose
from poem.errors import CompositionError
from poem.game import Game
from poem.hand import Hand
from poem_build.teacher.protocol import Lesson

READS: Mapping[str, Path] = {"store of sentences": Path(str(poem.__file__)).parent / "store"}
"""What it reads besides the game."""


class Composer:
    """Puts poems together from the game's sentences and the store's."""

    name = "composer"

    def __init__(self, game: Game) -> None:
        self._game = game

    def write(self, hand: Hand, candidates: Sequence[str], seed: int) -> Lesson | None:
        """The composition, unless it had to give a card away."""
        try:
            composition = compose(self._game, hand, candidates, seed)
        except CompositionError:
            return None
        return None if composition.waived else Lesson(composition.answer)
