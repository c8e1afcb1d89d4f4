"""A hand → the question for its poem, and an answer's text → the poem, or what is wrong with it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from poem.game import Game
from poem.hand import Answer
from poem.prompt import render_prompt
from poem.rules import check
from poem.shape import answer_schema, decode
from poem_build.store.digest import digest_of
from poem_build.teacher.asking import AnswerError
from poem_build.teacher.protocol import Ask, Play

PROMPTS = Path(__file__).parent / "prompts"
CHARACTERS = 270
"""Of an answer, its JSON included."""


def instructions(game: Game) -> str:
    """What a teacher is told before every hand: the game's own instructions, and how to go about it."""
    return (PROMPTS / "poem.txt").read_text("utf-8").rstrip("\n").format(instructions=game.instructions)


def poem_asks(game: Game, plays: Iterable[Play], seed: int) -> Iterator[Ask]:
    """A question for each hand."""
    system = instructions(game)
    for play in plays:
        user = render_prompt(game.instructions, play.hand, play.candidates).user
        key = digest_of([game.deck.digest, system, sorted(play.hand.ids()), sorted(play.candidates)])[:32]
        yield Ask(key, system, user, _schema(play), int(key[:7], 16) ^ seed, play)


def read_poem(ask: Ask, text: str) -> Answer:
    """The poem in an answer. Raises `AnswerError` naming every rule that it breaks."""
    return _read(ask, text, any_wording=False)


def read_table_poem(ask: Ask, text: str) -> Answer:
    """The same for a poem that must be fit for its cards whatever wordings are picked."""
    return _read(ask, text, any_wording=True)


def _schema(play: Play) -> dict[str, object]:
    """The shape of the answer without the poem's pattern, which no cloud's structured output takes whole."""
    schema = answer_schema(play.candidates)
    return schema | {"properties": {**schema["properties"], "poem": {"type": "string"}}}  # type: ignore[dict-item]


def _read(ask: Ask, text: str, *, any_wording: bool) -> Answer:
    assert ask.play is not None
    try:
        answer = decode(text)
    except ValueError as error:
        raise AnswerError(f"malformed: {error}") from error
    if broken := check(answer, ask.play.hand, ask.play.candidates, any_wording=any_wording):
        raise AnswerError("; ".join(map(str, broken)))
    return answer
