"""A course and a number of hands → poems in three splits for a model, or a table for a stand."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from poem.hand import Answer
from poem.table import Entry
from poem_build.data.course import Course
from poem_build.data.examples import Example
from poem_build.data.exchange import Files, read_answers
from poem_build.data.groups import groups_of, shown
from poem_build.data.hands import Split
from poem_build.data.phases import phase_of, sizes
from poem_build.data.poems import instructions, poem_asks, read_poem, read_table_poem
from poem_build.data.sampler import Sampler, check_quotas, coverage
from poem_build.data.taught import write_taught
from poem_build.errors import TeacherError
from poem_build.recipe.teaching import Quotas, Teaching
from poem_build.store.folder import write_text
from poem_build.teacher.asking import Ahead, Asking, Settled
from poem_build.teacher.batch import still_out
from poem_build.teacher.composer import Composer
from poem_build.teacher.journal import Journal
from poem_build.teacher.protocol import Ask, Play

POEMS = "poems"
"""What questions for poems are called in the names of journals."""
FOR_TABLE = "table"
"""The same for a table's."""
TABLE = "table.json"
TABLE_KINDS = {"concentrated": 0.3, "balanced": 0.5, "extreme": 0.2}
"""Of the hands of a table made beforehand: 300, 500 and 200 of a thousand."""


@dataclass(frozen=True)
class Taught:
    """What a course came to."""

    poems: int
    aside: int
    asked: int
    """Questions that went out now."""
    coverage: dict[str, Any]
    ledger: dict[str, Any]


def splits_of(course: Course, hands: int) -> dict[Split, tuple[Iterator[Ask], int]]:
    """The questions of each split, without an end, and how many of them are to be answered. Raises `DatasetError`."""
    game, spec = course.game, course.spec
    check_quotas(game.deck, spec.quotas, hands)
    groups, _ = groups_of(game.deck, course.folder)
    sampler = Sampler(game.deck, groups, spec.quotas, spec.seed)
    return {split: (poem_asks(game, sampler.plays(split), spec.seed), size) for split, size in sizes(hands).items()}


def ahead(course: Course, what: str, hands: int) -> Ahead:
    """What would be asked now for so many poems, or for a table of them; nothing is asked or made.

    Raises what the journals and the deck refuse.
    """
    journal = course.look(what, instructions(course.game))
    if what == POEMS:
        return _asking(course, journal).ahead(list(splits_of(course, hands).values()), still_out(journal))
    asking = course.asking(journal, read_table_poem)
    return asking.ahead([(_table_asks(course), hands)], still_out(journal))


def _asking(course: Course, journal: Journal) -> Asking[Answer]:
    """The teacher, to be asked for what neither it nor a file has answered."""
    by_file = f"{POEMS}-{Files.name}"
    imported = [other for other in journal.others(POEMS) if other.name == by_file]
    return course.asking(journal, read_poem, [*imported, *journal.elsewhere(by_file)])


async def teach_poems(course: Course, hands: int, note: Mapping[str, Any]) -> Taught:
    """Have the poems of so many hands written, 8:1:1, and leave them as splits.

    What was imported, or paid for with another recipe, is not asked again. Raises what the teacher and its journal
    refuse; what was answered until then is kept.
    """
    splits = splits_of(course, hands)
    with closing(course.journal(POEMS, instructions(course.game))) as journal:
        journal.note("begins", hands=hands, **note)
        asking = _asking(course, journal)
        try:
            settled = await course.settle_groups(asking, splits)
        finally:
            paid = course.close(POEMS, journal)
    fewer = {split: size - _written(settled[split]) for split, (_, size) in splits.items()}
    return _leave(course, settled, fewer, asking.asked, paid, note)


def take_poems(course: Course, hands: int, path: Path) -> tuple[Taught, list[str]]:
    """Take the answers of a file to so many hands, and leave them as splits; the lines that tell of errors.

    Hands that the file leaves out keep what any teacher has answered. Raises `TeacherError` for a line that is no
    answer, one to what was not asked, or errors alone.
    """
    splits = splits_of(course, hands)
    asks = {split: list(islice(endless, size)) for split, (endless, size) in splits.items()}
    answers, failed = read_answers(path, [ask for some in asks.values() for ask in some])
    if not answers:
        raise TeacherError(
            f"{failed[0]}; all {len(failed)} lines are errors, so nothing was taken: have them asked again"
        )
    with closing(course.journal(POEMS, instructions(course.game))) as journal:
        asking = course.asking(journal, read_poem, list(journal.others(POEMS)))
        taken = 0
        for ask, said in answers:
            if (said.text, said.ended) not in [(one.text, one.ended) for one in journal.story(ask.key).answers[-1:]]:
                asking.take(ask.key, ask, said)
                taken += 1
        settled = {split: [asking.standing(ask) for ask in some] for split, some in asks.items()}
        paid = course.close(POEMS, journal)
    fewer = {split: size - len(asks[split]) for split, (_, size) in splits.items()}
    phase = phase_of(sum(map(_written, settled.values())))
    return _leave(course, settled, fewer, taken, paid, {"phase": phase}), failed


def unanswered(course: Course, asks: Sequence[Ask]) -> list[Ask]:
    """The questions that no journal in the room has a poem for; a composer's does not count."""
    journal = course.look(POEMS, instructions(course.game))
    others = [other for other in journal.others(POEMS) if other.about.teacher != Composer.name]
    asking = course.asking(journal, read_poem, others)
    return [ask for ask in asks if (known := asking.known(ask)) is None or known.answer is None]


def _leave(
    course: Course,
    settled: Mapping[Split, list[Settled[Answer]]],
    fewer: Mapping[Split, int],
    asked: int,
    paid: dict[str, Any],
    note: Mapping[str, Any],
) -> Taught:
    game = course.game
    groups, guessed = groups_of(game.deck, course.folder)
    splits = {split: _examples_of(some) for split, some in settled.items()}
    plays = [Play(one.hand, one.candidates) for some in splits.values() for one in some]
    reached = coverage(plays, game.deck, groups, course.spec.quotas, fewer) | {"groups": shown(groups, guessed)}
    everything = [one for some in settled.values() for one in some]
    course.put_aside(POEMS, everything)
    aside = sum(one.answer is None for one in everything)
    teachers = {one.teacher for one in everything if one.answer}
    models = {one.model for one in everything if one.model}
    told = {
        "teacher": "+".join(sorted(teachers)) or course.teacher.name,
        "model": "+".join(sorted(models)) or course.teacher.model,
        "game": game.name,
        "game_digest": game.deck.digest,
        "prompt_version": game.prompt_version,
        "cost_usd": round(sum(one.usd for one in everything), 6),
        "unwritten": aside,
        "coverage": reached,
        **note,
    }
    course.poems.mkdir(parents=True, exist_ok=True)
    write_taught(course.poems, game, splits, told)
    return Taught(len(plays), aside, asked, reached, paid)


def _written(settled: list[Settled[Answer]]) -> int:
    return sum(one.answer is not None for one in settled)


def _examples_of(settled: list[Settled[Answer]]) -> list[Example]:
    """The answers that were taken, with their questions."""
    return [
        Example(one.ask.play.hand, one.ask.play.candidates, one.answer)
        for one in settled
        if one.ask.play and one.answer
    ]


def _table_asks(course: Course) -> Iterator[Ask]:
    spec, deck = course.spec, course.game.deck
    groups, _ = groups_of(deck, course.folder)
    return poem_asks(course.game, Sampler(deck, groups, _table_quotas(spec), spec.seed, [None]).plays(), spec.seed)


def _table_quotas(spec: Teaching) -> Quotas:
    return spec.quotas.model_copy(update=TABLE_KINDS)


async def teach_table(course: Course, hands: int) -> Taught:
    """Have the poems of a table written and leave them as `precomputed_poems.json` has them."""
    game, quotas = course.game, _table_quotas(course.spec)
    groups, guessed = groups_of(game.deck, course.folder)
    with closing(course.journal(FOR_TABLE, instructions(game))) as journal:
        asking = course.asking(journal, read_table_poem)
        try:
            settled = await course.settle(asking, _table_asks(course), hands, FOR_TABLE)
        finally:
            paid = course.close(FOR_TABLE, journal)
    course.put_aside(FOR_TABLE, settled)
    written = [(one.ask.play, one.answer) for one in settled if one.ask.play and one.answer]
    entries = [Entry(play.hand, answer, course.teacher.name).as_json() for play, answer in written]
    write_text(course.room / TABLE, json.dumps(entries, ensure_ascii=False, indent=1) + "\n")
    reached = coverage([play for play, _ in written], game.deck, groups, quotas, {"the table": hands - len(entries)})
    reached |= {"groups": shown(groups, guessed)}
    return Taught(len(entries), len(settled) - len(entries), asking.asked, reached, paid)
