"""A course and a number of hands → poems in three splits for a model, or a table for a stand."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poem.hand import Answer
from poem.table import Entry
from poem_build.data.course import Course
from poem_build.data.groups import Group, groups_of
from poem_build.data.hands import Split
from poem_build.data.phases import sizes
from poem_build.data.poems import instructions, poem_asks, read_poem, read_table_poem
from poem_build.data.sampler import Sampler, check_quotas, coverage
from poem_build.data.taught import FOLDER, examples_of, write_taught
from poem_build.recipe.teaching import Quotas
from poem_build.store.folder import write_text
from poem_build.teacher.asking import Settled
from poem_build.teacher.protocol import Play

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


async def teach_poems(course: Course, hands: int, note: Mapping[str, Any]) -> Taught:
    """Have the poems of so many hands written, 8:1:1, and leave them as splits.

    Raises what the teacher and its journal refuse; what was answered until then is kept.
    """
    game, spec = course.game, course.spec
    check_quotas(game.deck, spec.quotas, hands)
    groups, _ = groups_of(game.deck, course.folder)
    journal = course.journal("poems", instructions(game))
    try:
        journal.note("begins", hands=hands, **note)
        asking = course.asking(journal, read_poem)
        settled: dict[Split, list[Settled[Answer]]] = {}
        for split, size in sizes(hands).items():
            plays = Sampler(game.deck, groups, spec.quotas, split, spec.seed).plays()
            settled[split] = await course.settle(asking, poem_asks(game, plays, spec.seed), size, split)
        everything = [one for some in settled.values() for one in some]
        return _leave(course, settled, course.close(journal, everything), groups, asking.asked, note)
    finally:
        journal.close()


def _leave(
    course: Course,
    settled: Mapping[Split, list[Settled[Answer]]],
    paid: dict[str, Any],
    groups: Mapping[str, Group],
    asked: int,
    note: Mapping[str, Any],
) -> Taught:
    game = course.game
    splits = {split: examples_of(some) for split, some in settled.items()}
    plays = [Play(one.hand, one.candidates) for some in splits.values() for one in some]
    reached = coverage(plays, game.deck, groups, course.spec.quotas)
    aside = sum(one.answer is None for some in settled.values() for one in some)
    told = {
        "teacher": course.teacher.name,
        "model": course.teacher.model,
        "game": game.name,
        "game_digest": game.deck.digest,
        "prompt_version": game.prompt_version,
        "cost_usd": paid["usd"],
        "unwritten": aside,
        "coverage": reached,
        **note,
    }
    folder = course.room.parent / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_taught(folder, game, splits, told)
    return Taught(len(plays), aside, asked, reached, paid)


async def teach_table(course: Course, hands: int) -> Taught:
    """Have the poems of a table written and leave them as `precomputed_poems.json` has them."""
    game, spec = course.game, course.spec
    quotas = Quotas.model_validate(spec.quotas.model_dump() | TABLE_KINDS)
    groups, _ = groups_of(game.deck, course.folder)
    journal = course.journal("table", instructions(game))
    try:
        asking = course.asking(journal, read_table_poem)
        plays = Sampler(game.deck, groups, quotas, None, spec.seed).plays()
        settled = await course.settle(asking, poem_asks(game, plays, spec.seed), hands, "table")
        paid = course.close(journal, settled)
    finally:
        journal.close()
    written = [(one.ask.play, one.answer) for one in settled if one.ask.play and one.answer]
    entries = [Entry(play.hand, answer, course.teacher.name).as_json() for play, answer in written]
    write_text(course.room / TABLE, json.dumps(entries, ensure_ascii=False, indent=1) + "\n")
    reached = coverage([play for play, _ in written], game.deck, groups, quotas)
    return Taught(len(entries), len(settled) - len(entries), asking.asked, reached, paid)
