"""The twenty held-out hands → a page for reading: composer, models and hand, unlabelled first, then labelled.

In the first part the four poems of a hand stand under letters in an order that the seed shuffles; the second part
says which is whose, and what the rules say of each. Nothing is picked and nothing mended.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from poem.composer import compose
from poem.deck import builtin_deck
from poem.hand import Answer, Hand
from poem.handwritten import handwritten
from poem.prompt import pair_line
from poem_build.data.dataset import Example, candidates_with
from poem_build.errors import RecipeError
from poem_build.export.quantize import FILE as GGUF_FILE
from poem_build.judge.verify import answers, broken_rule, read_answer
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Reading:
    """A poem for one hand, whose it is, and the first rule it breaks."""

    author: str
    answer: Answer
    note: str


def write(models: Sequence[tuple[Recipe, Path]], target: Path, seed: int) -> dict[str, int]:
    """Write the page for the models in these artifact folders; returns how many hands and authors it shows.

    Raises `RecipeError` for more models than letters.
    """
    if len(models) > len(LETTERS) - 2:
        raise RecipeError(f"readings: {len(models)} recipes; a page has letters for {len(LETTERS) - 2}")
    examples = held_out(seed)
    columns = [_composed(examples, seed), *(_modelled(recipe, out, examples, seed) for recipe, out in models)]
    columns.append([Reading("手書き", example.answer, broken_rule(example.answer, example)) for example in examples])
    rng = Random(f"readings {seed}")
    rows = [rng.sample(row, len(row)) for row in zip(*columns, strict=True)]
    names = ", ".join(row.author for row in (column[0] for column in columns))
    lines = [
        "# 読みくらべ",
        "",
        f"`poem-build readings {' '.join(recipe.name for recipe, _ in models)} --seed {seed}` がつくる頁。"
        f"書き手は{names}。選ばず、直さない。先に名を伏せて読み、あとで答えを見る。",
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
    artifact.write_text(target, "\n".join(lines) + "\n")
    return {"hands": len(examples), "authors": len(columns)}


def held_out(seed: int) -> list[Example]:
    """The held-out hands with the poems written for them, whose titles are among the candidates."""
    rng = Random(f"candidates {seed}")
    return [
        Example(one.hand, candidates_with(one.answer.title, builtin_deck(), rng), one.answer)
        for one in handwritten()
        if one.held_out
    ]


def _composed(examples: Sequence[Example], seed: int) -> list[Reading]:
    found = [compose(example.hand, example.candidates, seed + n).answer for n, example in enumerate(examples)]
    return [Reading("composer", answer, broken_rule(answer, e)) for answer, e in zip(found, examples, strict=True)]


def _modelled(recipe: Recipe, out: Path, examples: Sequence[Example], seed: int) -> list[Reading]:
    gguf = artifact.load(out, "gguf").path / GGUF_FILE
    texts = answers(recipe, gguf, examples, constrained=True, seed=seed)
    return [Reading(recipe.name, *read_answer(text, example)) for text, example in zip(texts, examples, strict=True)]


def _hand(n: int, hand: Hand) -> list[str]:
    return ["", f"### {n}", "", *(f"- {pair_line(pair)}" for pair in hand.pairs)]


def _quoted(answer: Answer) -> Iterator[str]:
    return (f"> {line}  " for line in answer.poem.split("\n"))
