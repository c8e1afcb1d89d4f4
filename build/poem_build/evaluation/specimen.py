"""An answer and its hand → the poem beside its cards, with the places where it breaks a rule."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal

from poem import shape
from poem.hand import Answer, Pair
from poem.rules import Violation, check
from poem_build.data.examples import Example
from poem_build.evaluation.answers import Row, Sheet
from poem_build.evaluation.poems import Broken, Reality, Specimen
from poem_build.judge.protocol import MALFORMED

COUNT = 20


def specimens(sheet: Sheet, beside: Sequence[Sheet]) -> list[Specimen]:
    """The writer's answers to the first hands, good or bad, each beside another's poem where there is one."""
    found = []
    others = [{_asked(example): (one.writer, answer) for example, _, answer in one.delivered} for one in beside]
    for trial, rows in zip_longest(sheet.trials[:COUNT], sheet.tries[:COUNT]):
        if rows:
            asked = _asked(trial.example)
            there = next((other[asked] for other in others if asked in other), None)
            found.append(_specimen(trial.example, rows, there))
    return found


def reality(pair: Pair) -> Reality:
    """The card with the wording picked for it, as a report tells it."""
    return Reality(
        card_id=pair.card.id,
        wording_id=pair.wording.id,
        category=pair.card.category,
        condition_text=pair.card.condition_text,
        strength=pair.card.strength,
        poem_text=pair.wording.poem_text,
    )


def broken(answer: Answer, example: Example) -> list[Broken]:
    """Every violation, with all of its places; one that is of the poem as a whole has none."""
    found: list[Broken] = []
    for violation in check(answer, example.hand, example.candidates):
        part: Literal["title", "poem"] = "title" if violation.rule == "title" else "poem"
        places: list[tuple[int, int] | tuple[None, None]] = [*_places(violation, answer.poem)]
        for start, end in places or [(None, None)]:
            found.append(Broken(rule=violation.rule, part=part, found=violation.found, start=start, end=end))
    return list(dict.fromkeys(found))  # a word that comes twice was found twice, each time at both places


def _asked(example: Example) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """What two writers' answers to the same hand have in common, whether they were just given or read again."""
    return tuple(example.hand.ids()), example.candidates


def _specimen(example: Example, rows: Sequence[Row], there: tuple[str, Answer] | None) -> Specimen:
    row = rows[-1]
    answer = row.answer
    whole = Broken(rule=MALFORMED, part="poem", found=row.ended, start=None, end=None)
    return Specimen(
        writer=row.writer,
        hand=[reality(pair) for pair in example.hand.pairs],
        title=answer.title if answer else "",
        poem=answer.poem if answer else row.text,
        broken=[one for one in broken(answer, example) if one.rule in row.broken] if answer else [whole],
        tries=len(rows),
        beside=there[1].poem if there else "",
        beside_writer=there[0] if there else "",
    )


def _places(violation: Violation, poem: str) -> Iterator[tuple[int, int]]:
    """Where in the poem what was found stands: in the paragraph that was named, or anywhere."""
    start, end = 0, len(poem)
    paragraphs = shape.paragraphs(poem)
    if violation.place.startswith("paragraph "):
        n = int(violation.place.removeprefix("paragraph "))
        start = sum(len(text) + 1 for text in paragraphs[: n - 1])
        end = start + len(paragraphs[n - 1])
    if violation.rule in ("sentence", "definitions"):
        yield start, end
        return
    if violation.rule == "characters" and (junk := shape.junk(poem)):
        yield junk.span()
        return
    while violation.found and (at := poem.find(violation.found, start, end)) >= 0:
        yield at, at + len(violation.found)
        start = at + len(violation.found)
