"""Hands asked as the service asks → which the model answers itself, at which try, and how much of that is whole.

A cut sentence breaks no rule, so the sentences of what is delivered are looked at on their own.
"""

from collections.abc import Sequence

from poem import shape
from poem.game import Game
from poem_build.data.examples import Example
from poem_build.engine.protocol import Engine
from poem_build.judge.figures import Figures
from poem_build.judge.language import is_whole
from poem_build.judge.protocol import Verdict
from poem_build.judge.rules import Rules, ask
from poem_build.recipe.gate import Gate
from poem_build.store.red_line import RedLine

TRIES = 3
"""As often as the service asks for a poem before it takes another's."""
WHOLE = "whole sentences in what the model delivers"
READ_THEM = "read the answers; give the training longer examples, or the model more steps"


class Sentences(Figures):
    """How many sentences there are, and how many of them are whole."""

    count: int
    whole: int

    @property
    def share(self) -> float:
        """The share that is whole; none of none."""
        return self.whole / self.count if self.count else 0.0


class Delivered(Figures):
    """What the player gets from the model itself."""

    hands: int
    by_try: list[int]
    """Hands answered at the first try, the second and the third."""
    sentences: Sentences

    @property
    def answered(self) -> int:
        """Hands that the model answered, whatever the try."""
        return sum(self.by_try)


def deliver(engine: Engine, game: Game, examples: Sequence[Example], first: Sequence[Verdict]) -> list[list[Verdict]]:
    """Each hand's verdicts, the first try's given; a hand that fails is asked again with a fresh seed."""
    tries = [[verdict] for verdict in first]
    for n, (example, found) in enumerate(zip(examples, tries, strict=True)):
        while not found[-1].passed and len(found) < TRIES:
            seed = n + len(found) * len(examples)
            reply = ask(engine, game, example, seed, constrained=True)
            found.append(Rules().judge(example, reply, f"{found[0].asked}, try {len(found) + 1}"))
    return tries


def delivered(tries: Sequence[Sequence[Verdict]]) -> Delivered:
    """The hands in figures."""
    given = [found[-1] for found in tries if found[-1].passed]
    by_try = [sum(len(found) == n and found[-1].passed for found in tries) for n in range(1, TRIES + 1)]
    poems = [shape.decode(one.text).poem for one in given]
    return Delivered(hands=len(tries), by_try=by_try, sentences=sentences(poems))


def sentences(poems: Sequence[str]) -> Sentences:
    """The sentences of the poems, counted."""
    found = [is_whole(sentence) for poem in poems for sentence in shape.sentences(poem)]
    return Sentences(count=len(found), whole=sum(found))


def whole_sentences(found: Delivered, asked: Gate) -> RedLine:
    """What a reader asks first of what is delivered."""
    return RedLine(
        "whole_sentences",
        WHOLE,
        found.sentences.share,
        asked.whole_sentences,
        READ_THEM,
        shown=".2%",
        note=f"{found.sentences.whole} of {found.sentences.count}, {found.answered} of {found.hands} hands",
    )
