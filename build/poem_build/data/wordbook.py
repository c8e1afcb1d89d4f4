"""Sentences that a teacher wrote → files in a game's folder, for a person to mend; what stands there is kept."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poem.game import Game
from poem_build.data.course import Course
from poem_build.data.entries import add_entries
from poem_build.data.values import VALUES
from poem_build.data.words import Words, Written
from poem_build.errors import TeacherError
from poem_build.teacher.asking import Ahead, Asking
from poem_build.teacher.batch import still_out
from poem_build.teacher.journal import Journal
from poem_build.teacher.money import ledger
from poem_build.teacher.protocol import Ask


@dataclass(frozen=True)
class Laid:
    """What was laid down in the folder, and what was not to be had."""

    wordings: int
    titles: int
    aside: int
    asked: int
    ledger: dict[str, Any]


_WHAT = "words"
"""What the questions are called in the names of journals."""


def ahead(course: Course) -> tuple[list[Ask], Ahead]:
    """The questions that would be asked now, and what becomes of all; nothing is asked or made.

    Raises what the journals refuse.
    """
    words = Words(course.game)
    asks = words.asks()
    if not asks:
        return [], Ahead(0, 0, 0)
    journal = course.look(_WHAT, Words.prompts())
    asking, out = _asking(course, journal, words, asks), still_out(journal)
    known = [(ask, asking.known(ask)) for ask in asks]
    unknown = [ask for ask, one in known if one is None]
    new = [ask for ask in unknown if ask.key not in out]
    return new, Ahead(
        len(new), sum(one is not None and one.answer is not None for _, one in known), len(unknown) - len(new)
    )


def _asking(course: Course, journal: Journal, words: Words, asks: list[Ask]) -> Asking[Written]:
    """The teacher, to be asked for what is unlike all that was taken before."""
    for ask in asks:
        story = journal.story(ask.key)
        for said, verdict in zip(story.answers, story.verdicts, strict=True):
            if not verdict:
                words.accept(ask, said.text)
    return course.asking(journal, words.read)


async def teach_words(course: Course) -> Laid:
    """Have what is missing of the game's words written, and lay down what was taken, whatever happens meanwhile.

    Raises what the teacher and its journal refuse, and `TeacherError` for the built-in game.
    """
    if course.folder is None:
        raise TeacherError("--game: the built-in game has its words; give the folder of yours")
    words = Words(course.game)
    asks = words.asks()
    if not asks:  # whatever the journal was written for
        return Laid(wordings=0, titles=0, aside=0, asked=0, ledger=ledger((), 0.0, course.prices))
    taken: dict[str, Written] = {}
    with closing(course.journal(_WHAT, Words.prompts())) as journal:
        asking = _asking(course, journal, words, asks)
        try:
            course.put_aside(_WHAT, await course.settle(asking, iter(asks), None, _WHAT))
        finally:
            for ask in asks:
                if (known := asking.known(ask)) and known.answer:
                    taken[ask.key] = known.answer
            lay_down(course.folder, course.game, list(taken.values()))
            paid = course.close(_WHAT, journal)
    return Laid(
        wordings=sum(len(one.wordings) for one in taken.values()),
        titles=sum(len(one.titles) for one in taken.values()),
        aside=len(asks) - len(taken),
        asked=asking.asked,
        ledger=paid,
    )


def lay_down(folder: Path, game: Game, written: list[Written]) -> None:
    """Add what was written to `values.json`, `sentences/titles.json` and a file of sentences for each category."""
    values = {key: some for one in written for key, some in one.values.items()}
    titles = {key: entry for one in written for key, entry in one.titles.items()}
    wordings = {key: entry for one in written for key, entry in one.wordings.items()}
    add_entries(folder / VALUES, values)
    add_entries(folder / "sentences" / "titles.json", titles)
    for n, cards in enumerate(game.deck.categories.values(), 1):
        mine = {w.id: wordings[w.id] for card in cards for w in card.poems if w.id in wordings}
        add_entries(folder / "sentences" / "wordings" / f"category-{n}.json", mine)
