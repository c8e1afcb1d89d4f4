"""The composer as a teacher: it costs nothing and knows only the sentences that it was given."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import poem
from poem.composer import compose
from poem.errors import CompositionError
from poem.game import Game
from poem.hand import Answer, Hand
from poem.shape import encode
from poem_build.errors import TeacherError
from poem_build.teacher.protocol import Ask, Said, Turn

READS: Mapping[str, Path] = {"store of sentences": Path(str(poem.__file__)).parent / "store"}
"""What it reads besides the game."""


class Composer:
    """Puts poems together from the game's sentences and the store's."""

    name, model = "composer", ""

    def __init__(self, game: Game) -> None:
        self._game = game

    def write(self, hand: Hand, candidates: Sequence[str], seed: int) -> Answer | None:
        """The composition, unless it had to give a card away or there is none."""
        try:
            composition = compose(self._game, hand, candidates, seed)
        except CompositionError:
            return None
        return None if composition.waived else composition.answer

    async def say(self, ask: Ask, turns: Sequence[Turn]) -> Said:
        """As a teacher: another composition each time that it is asked."""
        if ask.play is None:
            raise TeacherError("composer: puts poems together and writes no words; give another --teacher")
        answer = self.write(ask.play.hand, ask.play.candidates, ask.seed + len(turns))
        return Said(encode(answer) if answer else "")

    async def close(self) -> None:
        """There is nothing to let go of."""
