"""Several answers a hand → which is to be preferred to which: lines of `prompt`, `chosen` and `rejected`, and why.

An answer that keeps the rules goes before one that breaks them. Of two that keep them a judge prefers one, if it does
so in both orders; without a judge that which speaks the values of more of the hand's wordings (`meaning`). What is
even is a tie, and teaches nothing. Of a model that writes in two stages the poems of one outline are compared, and the
prompt is the second one.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, cycle
from pathlib import Path
from typing import Literal

from poem.game import Game
from poem_build.data.examples import Example
from poem_build.evaluation import jury, matrix, meaning, questions
from poem_build.evaluation.jury import Juror
from poem_build.evaluation.matrix import TIED, WON, Reading
from poem_build.evaluation.report import OrderBias
from poem_build.evaluation.rivals import Rival, Round
from poem_build.judge.figures import Figures
from poem_build.store.folder import write_text
from poem_build.teacher.ending import orderly
from poem_build.teacher.money import Price, expected

Why = Literal["rules", "judge", "values"]
FILE, REPORT = "pairs.jsonl", "preferences.json"


class Worth(Figures):
    """What is known of an answer."""

    values: float | None
    """The share of the hand's wordings of whose values it has a word; None for what is no answer."""
    broken: list[str]
    """The rules that it breaks."""


class Line(Figures):
    """A line of the file. Whoever trains reads the first three."""

    prompt: list[dict[str, str]]
    chosen: str
    rejected: str
    hand: list[tuple[str, str]]
    why: Why
    scores: dict[Literal["chosen", "rejected"], Worth]


class Report(Figures):
    """What was made, and of what."""

    writer: str
    judge: str
    """Who preferred among those that keep the rules: its name, or `values`."""
    hands: int
    answers: int
    keeping: int
    breaking: int
    repeated: int
    unfinished: int
    without_outline: int
    """Hands for which a model that writes in two stages gave no outline."""
    pairs: dict[Why, int]
    compared: int
    """Pairs of answers that keep the rules."""
    ties: int
    unread: int
    """Of which the judge said nothing readable."""
    orders_agree: float | None
    """The share of the pairs read of which the judge said the same in both orders; None without a judge."""
    bias: OrderBias | None
    cost_usd: float

    @property
    def tied(self) -> float:
        """The share of the comparisons that decided nothing."""
        return self.ties / self.compared if self.compared else 0.0


@dataclass(frozen=True)
class Meeting:
    """Two answers to one hand that both keep the rules."""

    example: Example
    one: Rival
    other: Rival


@dataclass(frozen=True)
class Outcomes:
    """What the first of each meeting made of it; None where nothing readable was said."""

    of: Sequence[float | None]
    readings: Sequence[Reading] = field(default=())
    usd: float = 0.0


def meetings(rounds: Sequence[Round]) -> list[Meeting]:
    """Any two that keep the rules."""
    return [Meeting(each.example, *two) for each in rounds for two in combinations(each.keepers, 2)]


def reckoned(example: Example, most: int, price: Price) -> tuple[int, float]:
    """How many questions so many meetings are at the most, and dollars for them, by those about the example."""
    ask = questions.duel(example.hand, example.answer, example.answer)
    return 2 * most, 2 * most * price.of(expected(ask, questions.CHARACTERS, price))


def by_values(game: Game, met: Sequence[Meeting]) -> Outcomes:
    """The lexicon's word on each."""
    found = [[_values(game, one.example, rival) or 0.0 for rival in (one.one, one.other)] for one in met]
    return Outcomes([TIED if mine == theirs else float(mine > theirs) for mine, theirs in found])


def by_judge(juror: Juror, game: Game, met: Sequence[Meeting], out: Path, most_usd: float | None) -> Outcomes:
    """The judge's, in both orders; every answer of it is kept among the artifacts and paid for once.

    Raises `TeacherError` where it does not answer, or the purse is empty.
    """
    asks = []
    for one in met:
        assert one.one.answer is not None  # they keep the rules
        assert one.other.answer is not None
        hand, mine, theirs = one.example.hand, one.one.answer, one.other.answer
        asks.append((questions.duel(hand, mine, theirs), questions.duel(hand, theirs, mine)))
    every = [ask for both in asks for ask in both]
    verdicts, usd = orderly(jury.settled(juror, every, out / jury.ROOM, game, most_usd))
    readings = [jury.reading_of(both, verdicts, questions.ASPECTS[0]) for both in asks]
    return Outcomes([one.outcome if one else None for one in readings], [one for one in readings if one], usd)


def lines(game: Game, rounds: Sequence[Round], met: Sequence[Meeting], outcomes: Outcomes, why: Why) -> list[Line]:
    """All pairs: those by the rules, then those of which one was preferred."""
    found = [
        _line(game, each.example, kept, broken, "rules")
        for each in rounds
        for kept, broken in zip(cycle(each.keepers), each.breakers, strict=False)  # none of either: no pair
    ]
    for one, outcome in zip(met, outcomes.of, strict=True):
        if outcome not in (None, TIED):
            better, worse = (one.one, one.other) if outcome == WON else (one.other, one.one)
            found.append(_line(game, one.example, better, worse, why))
    return found


def report(writer: str, judge: str, rounds: Sequence[Round], outcomes: Outcomes, found: Sequence[Line]) -> Report:
    """What is to be said of the pairs."""
    counts = Counter(one.why for one in found)
    unread, readings = sum(one is None for one in outcomes.of), outcomes.readings
    asked, ended = sum(each.asked for each in rounds), sum(len(each.rivals) for each in rounds)
    unfinished = sum(each.unfinished for each in rounds)
    return Report(
        writer=writer,
        judge=judge,
        hands=len(rounds),
        answers=asked,
        keeping=sum(len(each.keepers) for each in rounds),
        breaking=sum(len(each.breakers) for each in rounds),
        repeated=asked - unfinished - ended,
        unfinished=unfinished,
        without_outline=sum(each.asked == 0 for each in rounds),
        pairs=dict(counts),
        compared=len(outcomes.of),
        ties=sum(one == TIED for one in outcomes.of),
        unread=unread,
        orders_agree=round(sum(map(_agrees, readings)) / len(readings), 4) if readings else None,
        bias=matrix.order_bias(judge, readings, unread),
        cost_usd=round(outcomes.usd, 6),
    )


def write(folder: Path, found: Sequence[Line], told: Report) -> Path:
    """Leave the pairs and what is said of them; where the pairs are."""
    path = folder / FILE
    content = "".join(json.dumps(one.model_dump(mode="json"), ensure_ascii=False) + "\n" for one in found)
    write_text(path, content)
    write_text(folder / REPORT, told.model_dump_json(indent=1) + "\n")
    return path


def _line(game: Game, example: Example, chosen: Rival, rejected: Rival, why: Why) -> Line:
    return Line(
        prompt=example.question(game),
        chosen=chosen.text,
        rejected=rejected.text,
        hand=example.hand.ids(),
        why=why,
        scores={"chosen": _worth(game, example, chosen), "rejected": _worth(game, example, rejected)},
    )


def _worth(game: Game, example: Example, rival: Rival) -> Worth:
    return Worth(values=_values(game, example, rival), broken=list(rival.broken))


def _values(game: Game, example: Example, rival: Rival) -> float | None:
    return meaning.spoken(game, example.hand, rival.answer.poem) if rival.answer else None


def _agrees(reading: Reading) -> bool:
    """Whether both orders say the same: the same poem, or twice that neither is better."""
    return reading.outcome != TIED or (reading.forth is None and reading.back is None)
