"""The held-out hands → a page for reading: composer, models and hand, unlabelled first, then labelled.

In the first part the poems of a hand stand under letters in an order that the seed shuffles; the second part says
which is whose, and what the rules say of each. Nothing is picked and nothing mended.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from poem.composer import compose
from poem.game import Game
from poem.hand import Answer, Hand
from poem.prompt import pair_line
from poem_build.data.examples import Example
from poem_build.data.hands import candidates_with
from poem_build.engine.protocol import Reply
from poem_build.errors import RecipeError
from poem_build.judge.rules import broken_rule, read_answer
from poem_build.store.folder import write_text

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Reading:
    """A poem for one hand, whose it is, and the first rule it breaks."""

    author: str
    answer: Answer
    note: str


def check_authors(models: int, game: Game) -> None:
    """Raise `RecipeError` for more models than letters, or a game without hands that are held out."""
    if models > len(LETTERS) - 2:
        raise RecipeError(f"readings: {models} recipes; a page has letters for {len(LETTERS) - 2}")
    if not any(poem.held_out for poem in game.poems):
        raise RecipeError("readings: the game has no poems by hand that are held out; mark some in its poems.jsonl")


def write(command: str, game: Game, answers: Mapping[str, Sequence[Reply]], target: Path, seed: int) -> dict[str, int]:
    """Write the page of composer, hand and the models, whose answers to the held-out hands are given by name.

    Returns how many hands and authors it shows.
    """
    examples = held_out(game, seed)
    columns = [_composed(game, examples, seed)]
    columns += [_answered(name, replies, examples) for name, replies in answers.items()]
    columns.append([Reading("手書き", example.answer, broken_rule(example.answer, example)) for example in examples])
    rng = Random(f"readings {seed}")
    rows = [rng.sample(row, len(row)) for row in zip(*columns, strict=True)]
    names = ", ".join(row.author for row in (column[0] for column in columns))
    lines = [
        "# 読みくらべ",
        "",
        f"`{command}` がつくる頁。書き手は{names}。選ばず、直さない。先に名を伏せて読み、あとで答えを見る。",
        "",
        "## 名を伏せて",
    ]
    for n, (example, row) in enumerate(zip(examples, rows, strict=True), 1):
        lines += _hand(n, example.hand)
        for letter, reading in zip(LETTERS, row, strict=False):
            lines += ["", f"**{letter} {reading.answer.title}**", "", *_quoted(reading.answer)]
    lines += ["", "## 名を明かして"]
    for n, (example, row) in enumerate(zip(examples, rows, strict=True), 1):
        lines += _hand(n, example.hand)
        for letter, reading in zip(LETTERS, row, strict=False):
            note = f"({reading.note})" if reading.note else ""
            lines += ["", f"**{letter} {reading.author}: {reading.answer.title}**{note}", "", *_quoted(reading.answer)]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, "\n".join(lines) + "\n")
    return {"hands": len(examples), "authors": len(columns)}


def held_out(game: Game, seed: int) -> list[Example]:
    """The held-out hands with the poems written for them, whose titles are among the candidates."""
    rng = Random(f"candidates {seed}")
    return [
        Example(one.hand, candidates_with(one.answer.title, game.deck, rng), one.answer)
        for one in game.poems
        if one.held_out
    ]


def _composed(game: Game, examples: Sequence[Example], seed: int) -> list[Reading]:
    found = [compose(game, example.hand, example.candidates, seed + n).answer for n, example in enumerate(examples)]
    return [Reading("composer", answer, broken_rule(answer, e)) for answer, e in zip(found, examples, strict=True)]


def _answered(name: str, replies: Sequence[Reply], examples: Sequence[Example]) -> list[Reading]:
    pairs = zip(replies, examples, strict=True)
    return [Reading(name, *read_answer(reply.whole, example)) for reply, example in pairs]


def _hand(n: int, hand: Hand) -> list[str]:
    return ["", f"### {n}", "", *(f"- {pair_line(pair)}" for pair in hand.pairs)]


def _quoted(answer: Answer) -> Iterator[str]:
    return (f"> {line}  " for line in answer.poem.split("\n"))
