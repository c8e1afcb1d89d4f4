"""A GGUF, in a process of its own → exit status 0 if llama.cpp bears it, else 1 and one line that says why.

llama.cpp ends its process over some files (a vocabulary that cannot spell a prompt or a grammar's next
literal), and no player's poem may hang on that.
"""

import sys
from pathlib import Path
from random import Random

from poem.game import builtin_game
from poem.hand import deal, draw_candidates
from poem_service.engine.embedded import Model
from poem_service.engine.protocol import Ask
from poem_service.errors import EngineError

TOKENS = 48
"""Enough for the title and into the poem: every literal of the grammar but the last has been spelt then."""


def main(path: Path, layers: int) -> int:
    """Load it and let it begin an answer."""
    game = builtin_game()
    deck = game.deck
    try:
        answer = Model(path, layers).answer(Ask.of(game, deal(deck, Random(0)), draw_candidates(deck, Random(0)), 0))
        for n, _ in enumerate(answer):
            if n >= TOKENS:
                break
    except EngineError as error:
        sys.stdout.write(error.seen)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2])))
