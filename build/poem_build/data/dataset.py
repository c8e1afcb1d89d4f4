"""A game and its teacher → chat examples in three splits that share no hand."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict

from poem.deck import Deck
from poem.errors import GameError
from poem.game import Game
from poem.hand import draw_candidates
from poem.pattern import pattern_key
from poem.rules import check
from poem_build.data.examples import Example, write_examples
from poem_build.data.hands import SPLITS, Split, candidates_with, hands, split_of
from poem_build.data.taught import read_taught
from poem_build.errors import DatasetError
from poem_build.models.origin import Origin, write_origin
from poem_build.models.quotable import unquotable
from poem_build.recipe.schema import Dataset
from poem_build.store.artifact import Report
from poem_build.store.digest import sha256
from poem_build.store.stage import Job, Stage, sections
from poem_build.teacher.composer import READS, Composer

FILE = "dataset.json"
"""What is told of the splits, beside them."""
_HANDS_PER_EXAMPLE = 20
"""As many hands are tried for an example on average before the teacher is taken to have nothing to say."""
_LEAST: dict[Split, int] = {"train": 1, "valid": 1, "test": 2}
"""Poems of a split that a model can be made with: what is measured on one has no interval."""


class Coverage(BaseModel):
    """What of the game a split shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    examples: int
    cards: int
    wordings: int
    wording_seen_least: int
    titles: int


class DatasetReport(Report):
    """Who wrote the data set, at what cost, and what it covers."""

    teacher: str
    cost_usd: float
    handwritten: int
    splits: dict[Split, Coverage]
    unwritten: int
    """Hands that the teacher had no poem for."""
    filled: int = 0
    """Of the poems, those of the composer beside another teacher's."""


def run(job: Job) -> DatasetReport:
    """Write the three splits, the composer's or those that another teacher left, and `dataset.json` beside them.

    Poems written by hand are mixed into the first. The third is the teacher's alone, whoever fills the others up.
    Raises `DatasetError` where a teacher wrote too few, `GameError` for instructions that the finished model could not
    be given.
    """
    game, spec, composer = job.game, job.recipe.dataset, Composer(job.game)
    if reason := unquotable(game.instructions):
        raise GameError(f"game {game.name}: system.txt: {reason}")
    by_hand = _by_hand(game, spec.handwritten, spec.seed)
    written: dict[Split, list[Example]] = {}
    said: dict[str, Any] = {"teacher": composer.name, "cost_usd": 0.0, "unwritten": 0}
    if spec.taught:
        written, said = read_taught(spec.taught, game)
    taught, unwritten = sum(map(len, written.values())), int(said["unwritten"])
    for split in _composers_share(spec):
        there = written.get(split, [])
        composed, silent = _composed(game, composer, split, max(0, getattr(spec, split) - len(there)), spec.seed)
        written[split] = [*there, *_fresh(composed, there)]
        unwritten += silent
    if spec.taught:
        _refuse_too_few(spec.taught, written)
    splits = {}
    for split, examples in written.items():
        everything = [*examples, *(by_hand if split == "train" else [])]
        everything = [replace(example, stages=spec.stages) for example in everything]
        write_examples(job.folder / f"{split}.jsonl", game, everything)
        splits[split] = _coverage(game.deck, everything)
    report = DatasetReport(
        teacher=str(said["teacher"]),
        cost_usd=float(said["cost_usd"]),
        handwritten=len(by_hand),
        splits=splits,
        unwritten=unwritten,
        filled=sum(map(len, written.values())) - taught if spec.taught else 0,
    )
    version = game.prompt_in(spec.stages)
    origin = Origin(game=game.name, game_digest=game.deck.digest, prompt_version=version, stages=spec.stages)
    write_origin(job.folder, origin)
    files = {split: sha256(job.folder / f"{split}.jsonl") for split in SPLITS}
    content = origin.model_dump(include={"game", "game_digest", "prompt_version"}) | report.model_dump()
    text = json.dumps(content | {"files": files}, ensure_ascii=False, indent=1)
    (job.folder / FILE).write_text(text + "\n", "utf-8")
    return report


STAGE = Stage(
    name="dataset",
    summary="Make the data set: chat examples in three splits without a common hand.",
    makes="dataset",
    work=run,
    report=DatasetReport,
    settings=sections("dataset"),
    reads_game=True,
    outside=lambda recipe: {**READS, **({"taught": recipe.dataset.taught} if recipe.dataset.taught else {})},
)


def _composed(game: Game, teacher: Composer, split: Split, size: int, seed: int) -> tuple[list[Example], int]:
    """The split's examples, and how many hands had no poem. Raises `DatasetError` for too many."""
    rng = Random(f"dataset {split} {seed}")
    examples: list[Example] = []
    silent = 0
    for hand in hands(game.deck, split, rng):
        if len(examples) == size:
            break
        candidates = draw_candidates(game.deck, rng)
        answer = teacher.write(hand, candidates, rng.getrandbits(32))
        if answer and not check(answer, hand, candidates):
            examples.append(Example(hand, candidates, answer))
        elif (silent := silent + 1) > _HANDS_PER_EXAMPLE * size:
            raise DatasetError(
                f"{teacher.name} has poems within the rules for {len(examples)} of {len(examples) + silent} hands of "
                "this game; are there words in its cards that every poem needs?"
            )
    return examples, silent


def _composers_share(spec: Dataset) -> tuple[Split, ...]:
    """The splits that the composer writes, or fills up."""
    if spec.taught:
        return ("train", "valid") if spec.filled else ()
    return SPLITS


def _fresh(composed: Sequence[Example], there: Sequence[Example]) -> list[Example]:
    """Those for hands that have no poem yet."""
    known = {pattern_key(example.hand) for example in there}
    return [example for example in composed if pattern_key(example.hand) not in known]


def _refuse_too_few(folder: Path, written: Mapping[Split, Sequence[Example]]) -> None:
    for split, least in _LEAST.items():
        if (count := len(written[split])) < least:
            raise DatasetError(
                f"{folder / split}.jsonl: {count} of at least {least} poems; have more hands answered: "
                "by `poem-build teacher run`, or `export` and `import`"
            )


def _by_hand(game: Game, times: int, seed: int) -> list[Example]:
    """Every poem written by hand for a training hand, so often, its title among other candidates each time."""
    rng = Random(f"handwritten {seed}")
    poems = [poem for poem in game.poems if not poem.held_out and split_of(poem.hand) == "train"]
    examples = [
        Example(poem.hand, candidates_with(poem.answer.title, game.deck, rng), poem.answer)
        for _ in range(times)
        for poem in poems
    ]
    return [example for example in examples if not check(example.answer, example.hand, example.candidates)]


def _coverage(deck: Deck, examples: Sequence[Example]) -> Coverage:
    wordings = Counter(pair.wording.id for example in examples for pair in example.hand.pairs)
    return Coverage(
        examples=len(examples),
        cards=len({pair.card.id for example in examples for pair in example.hand.pairs}),
        wordings=len(wordings),
        wording_seen_least=min(wordings[wording.id] for card in deck.cards for wording in card.poems),
        titles=len({example.answer.title for example in examples}),
    )
