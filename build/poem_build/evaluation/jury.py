"""Sheets and language models → what each of these says as a judge; every answer is kept and never paid for twice.

A judge is asked as a teacher is: the same clients, journal, purse and pace. Its journal lies beside the artifacts, so
that another build's report finds what was said of the same poems.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from poem.game import Game
from poem.hand import Answer
from poem_build.evaluation import questions
from poem_build.evaluation.answers import Sheet
from poem_build.evaluation.concealment import LineUp, line_up, named
from poem_build.evaluation.hands import trials
from poem_build.evaluation.matrix import LOST, TIED, WON, Contest, Reading, order_bias
from poem_build.evaluation.questions import ASPECTS, FIRST, SAME, Verdict
from poem_build.evaluation.report import OrderBias
from poem_build.progress import bar
from poem_build.recipe.teaching import Teaching
from poem_build.store.digest import digest_of
from poem_build.teacher.asking import Asking, Settled, Terms, settle_all
from poem_build.teacher.ending import orderly
from poem_build.teacher.journal import About, Journal
from poem_build.teacher.money import Price, Purse, expected
from poem_build.teacher.pace import Pace
from poem_build.teacher.protocol import Ask, Teacher

ROOM = "judges"
"""Among the artifacts."""


@dataclass(frozen=True)
class Juror:
    """A language model that judges."""

    spec: Teaching
    price: Price
    open: Callable[[], Teacher]

    @property
    def name(self) -> str:
        return f"{self.spec.name}:{self.spec.model}"


@dataclass(frozen=True)
class Jury:
    """Who judges, how many hands, and for how many dollars at the most."""

    jurors: tuple[Juror, ...] = ()
    hands: int = 40
    most_usd: float | None = None


@dataclass
class Heard:
    """What one judge said."""

    judge: str
    contests: list[Contest] = field(default_factory=list)
    bias: OrderBias | None = None
    named: dict[str, list[float]] = field(default_factory=dict)
    """By writer, the share of each poem's realities that were named."""
    points: dict[str, list[float | None]] = field(default_factory=dict)
    """By writer, the rubric's sum for each hand; 0 without a poem, None where it was not asked or not read."""
    asked: int = 0
    unread: int = 0
    usd: float = 0.0


@dataclass(frozen=True)
class Docket:
    """All that a judge is asked, and where its answers belong."""

    duels: Mapping[tuple[str, str], Sequence[tuple[Ask, Ask] | float | None]]
    """By pair and hand: the question in both orders; or the outcome, where nobody has to be asked."""
    guesses: Mapping[str, Sequence[tuple[Ask, LineUp]]]
    rubrics: Mapping[str, Sequence[Ask | float | None]]

    @property
    def asks(self) -> list[Ask]:
        """Each question once."""
        found = [ask for some in self.duels.values() for one in some if isinstance(one, tuple) for ask in one]
        found += [ask for some in self.guesses.values() for ask, _ in some]
        found += [one for some in self.rubrics.values() for one in some if isinstance(one, Ask)]
        return list({ask.key: ask for ask in found}.values())


def docket(sheets: Sequence[Sheet], game: Game, hands: int) -> Docket:
    """The questions about the first hands of the sheets."""
    poems = {sheet.writer: _poems(sheet, hands) for sheet in sheets}
    places = [trial.example.hand for trial in sheets[0].trials[:hands]] if sheets else []
    duels: dict[tuple[str, str], list[tuple[Ask, Ask] | float | None]] = {}
    for one, other in combinations(poems, 2):
        duels[one, other] = []
        for hand, mine, theirs in zip(places, poems[one], poems[other], strict=True):
            if isinstance(mine, Answer) and isinstance(theirs, Answer):
                both = questions.duel(hand, mine, theirs), questions.duel(hand, theirs, mine)
                duels[one, other].append(TIED if mine == theirs else both)
            else:
                duels[one, other].append(_by_default(mine, theirs))
    ups = [line_up(hand, game.deck) for hand in places]
    return Docket(
        duels=duels,
        guesses={
            writer: [
                (questions.guess(a.poem, up), up) for a, up in zip(some, ups, strict=True) if isinstance(a, Answer)
            ]
            for writer, some in poems.items()
        },
        rubrics={
            writer: [
                questions.rubric(hand, one) if isinstance(one, Answer) else one
                for hand, one in zip(places, some, strict=True)
            ]
            for writer, some in poems.items()
        },
    )


def reckoned(game: Game, writers: int, hands: int, price: Price) -> tuple[int, float]:
    """How many questions so many writers and hands are, and dollars for them, by those about one composed poem."""
    example = trials(game, 1)[0].example
    one = (
        questions.duel(example.hand, example.answer, example.answer),
        questions.guess(example.answer.poem, line_up(example.hand, game.deck)),
        questions.rubric(example.hand, example.answer),
    )
    counts = writers * (writers - 1) * hands, writers * hands, writers * hands
    usd = sum(n * price.of(expected(ask, questions.CHARACTERS, price)) for ask, n in zip(one, counts, strict=True))
    return sum(counts), usd


def hear(jury: Jury, sheets: Sequence[Sheet], game: Game, out: Path) -> list[Heard]:
    """What every judge says. Raises `TeacherError` where one does not answer, or the purse is empty."""
    asked = docket(sheets, game, jury.hands)
    found: list[Heard] = []
    for juror in jury.jurors:
        left = None if jury.most_usd is None else jury.most_usd - sum(one.usd for one in found)
        verdicts, usd = orderly(settled(juror, asked.asks, out / ROOM, game, left))
        found.append(_heard(juror.name, asked, verdicts, usd))
    return found


async def settled(
    juror: Juror, asks: Sequence[Ask], room: Path, game: Game, most: float | None
) -> tuple[dict[str, Verdict], float]:
    """The verdicts by question, and what they cost in all; unreadable ones are not there."""
    spec, version = juror.spec, digest_of(questions.prompts())[:12]
    name = re.sub(r"[^a-z0-9.]+", "-", f"{spec.name}-{spec.model}-{version}".lower()).strip("-")
    journal = Journal.open(room / f"{name}.jsonl", About(game.deck.digest, version, spec.name, spec.model))
    teacher = juror.open()
    try:
        stories = [journal.story(ask.key) for ask in asks]
        paid = sum(juror.price.of(said.usage) for story in stories for said in story.answers)
        purse = Purse(most, paid + sum(story.in_doubt_usd for story in stories))
        terms = Terms(juror.price, spec.tries, spec.max_tokens)
        asking = Asking(teacher, journal, purse, Pace(spec.per_minute), terms, questions.read)
        with bar(f"{juror.name} judges", len(asks)) as advance:

            def seen(_: Settled[Verdict]) -> None:
                advance(True)

            settled = await settle_all(iter(asks), None, asking.settle, spec.at_once, seen)
    finally:
        journal.close()
        await teacher.close()
    return {one.ask.key: one.answer for one in settled if one.answer is not None}, purse.spent


def _heard(judge: str, asked: Docket, verdicts: Mapping[str, Verdict], usd: float) -> Heard:
    found = Heard(judge, asked=len(asked.asks), unread=len(asked.asks) - len(verdicts), usd=usd)
    readings: list[Reading] = []
    for aspect in ASPECTS:
        outcomes: dict[tuple[str, str], list[float | None]] = {}
        for pair, hands in asked.duels.items():
            outcomes[pair] = []
            for one in hands:
                reading = reading_of(one, verdicts, aspect) if isinstance(one, tuple) else None
                outcomes[pair].append(reading.outcome if reading else None if isinstance(one, tuple) else one)
                if reading and aspect == ASPECTS[0]:
                    readings.append(reading)
        found.contests.append(Contest(judge, aspect, outcomes))
    found.bias = order_bias(judge, readings, found.unread)
    for writer, guesses in asked.guesses.items():
        told = [(verdicts.get(ask.key), up) for ask, up in guesses]
        shares = [named(frozenset(n - 1 for n in one["numbers"]), up) for one, up in told if one is not None]
        if shares:
            found.named[writer] = shares
    for writer, some in asked.rubrics.items():
        found.points[writer] = [_points(one, verdicts) for one in some]
    return found


def reading_of(both: tuple[Ask, Ask], verdicts: Mapping[str, Verdict], aspect: str) -> Reading | None:
    """What was made of a pair; None unless both orders were read."""
    forth, back = (verdicts.get(ask.key) for ask in both)
    if forth is None or back is None:
        return None
    chosen = [None if one[aspect] == SAME else int(one[aspect] != FIRST) for one in (forth, back)]
    return Reading(chosen[0], chosen[1])


def _points(one: Ask | float | None, verdicts: Mapping[str, Verdict]) -> float | None:
    if not isinstance(one, Ask):
        return one
    verdict = verdicts.get(one.key)
    return None if verdict is None else float(sum(verdict.values()))


def _poems(sheet: Sheet, hands: int) -> list[Answer | float | None]:
    """The poem of each hand; 0 points for one that got none, None for one that was not asked."""
    return [(rows[-1].answer if rows[-1].passed else None) or 0.0 if rows else None for rows in sheet.tries[:hands]]


def _by_default(mine: Answer | float | None, theirs: Answer | float | None) -> float | None:
    if mine is None or theirs is None:
        return None
    if isinstance(mine, Answer) == isinstance(theirs, Answer):
        return TIED
    return WON if isinstance(mine, Answer) else LOST
