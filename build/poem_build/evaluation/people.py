"""Answers of several writers and what people chose among them, blind → the same count as the judges'.

A reader sees each pair of poems twice, the second time the other way round, as a judge does; one who stops earlier
counts as far as they came. What was chosen is kept by the text of hand and poems, so that it counts for another
build's report too, as long as that has the same poems. A poem that is missing loses only where the two writers' hands
were read; and one who was asked without the schema counts only where somebody has read what no other has written.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from poem.game import Game
from poem.hand import Answer, Hand, hand_of
from poem_build.evaluation import matrix, questions
from poem_build.evaluation.agreement import agreement
from poem_build.evaluation.answers import Row
from poem_build.evaluation.matrix import LOST, TIED, WON, Contest, Reading
from poem_build.evaluation.names import FREE
from poem_build.evaluation.report import Evaluation, Figure, Judged, Matrix
from poem_build.judge.figures import Figures
from poem_build.store.text import lines_of

FILE = "readings.jsonl"
"""Beside the stages' folders, as one build's answers outlive it."""
PEOPLE = "people"
"""What a report calls them, among its judges."""
Place = Literal["first", "second", "same"]
_PLACES = {"first": 0, "second": 1, "same": None}


class Chosen(Figures):
    """What a reader chose of two poems in one order, a line of the file; a later line takes an earlier one's place."""

    at: str
    reader: str
    key: str
    """Of hand and poems in that order, as a judge is asked."""
    chosen: Place


@dataclass(frozen=True)
class Read:
    """What people chose, counted."""

    readers: int
    judged: Judged
    """Pairs that were read, all readers together."""
    matrix: Matrix
    kappa: Figure | None
    """How far they agree beyond chance, where two have read the same."""


@dataclass(frozen=True)
class Pairing:
    """Two writers' poems for one hand; an outcome and no question where a poem is missing, or both are the same."""

    writers: tuple[str, str]
    hand: Hand
    answers: tuple[Answer | None, Answer | None]

    def key(self, *, turned: bool) -> str:
        """Of the question, the second poem first if it is turned."""
        one, other = self.answers[::-1] if turned else self.answers
        assert one is not None
        assert other is not None
        return questions.duel(self.hand, one, other).key

    @property
    def free(self) -> bool:
        """Whether one of the two was asked without the schema."""
        return any(name.endswith(FREE) for name in self.writers)

    @property
    def keys(self) -> tuple[str, str]:
        """Of the question in both orders."""
        return self.key(turned=False), self.key(turned=True)

    @property
    def default(self) -> float | None:
        """What the first made of it where nobody has to be asked."""
        one, other = self.answers
        if one == other:
            return TIED
        return None if one and other else WON if one else LOST


def pairings(rows: Sequence[Row], game: Game, writers: Sequence[str], most: int | None = None) -> list[Pairing]:
    """Every two of the writers that were asked for the same hand, for all hands or the first."""
    last: dict[tuple[tuple[str, str], ...], dict[str, Answer | None]] = defaultdict(dict)
    for row in rows:
        if row.writer in writers:
            last[tuple(row.hand)][row.writer] = row.answer if row.passed else None
    found = []
    for ids, answers in [(ids, answers) for ids, answers in last.items() if len(answers) > 1][:most]:
        hand = hand_of(game.deck, ids)
        for one, other in combinations([name for name in writers if name in answers], 2):
            found.append(Pairing((one, other), hand, (answers[one], answers[other])))
    return found


def write_chosen(path: Path, reader: str, key: str, chosen: Place) -> None:
    """Add what the reader chose."""
    one = Chosen(at=datetime.now(UTC).isoformat(timespec="seconds"), reader=reader, key=key, chosen=chosen)
    with path.open("a", encoding="utf-8") as file:
        file.write(one.model_dump_json() + "\n")


def read_chosen(path: Path) -> dict[str, dict[str, int | None]]:
    """By reader and key, the place that was chosen: 0, 1, or None for a tie. A torn line is passed over."""
    found: dict[str, dict[str, int | None]] = defaultdict(dict)
    for _, line in lines_of(path.read_text("utf-8", errors="replace") if path.is_file() else ""):
        try:
            one = Chosen.model_validate(json.loads(line))
        except (ValueError, ValidationError):
            continue
        found[one.reader][one.key] = _PLACES[one.chosen]
    return dict(found)


def count(there: Sequence[Pairing], chosen: Mapping[str, Mapping[str, int | None]]) -> Read | None:
    """What the readers chose; None where nobody has read any of it."""
    asked = _asked(there, chosen)
    readings = [dict(_readings(asked, mine)) for mine in chosen.values()]
    active = [mine for mine in readings if mine]
    if not active:
        return None
    both = [reading for mine in active for reading, whole in mine.values() if whole]
    bias = matrix.order_bias(PEOPLE, both, 0)
    outcomes = _outcomes(there, active)
    writers = list(dict.fromkeys(name for pair in outcomes for name in pair))
    table = matrix.matrix(writers, [Contest(PEOPLE, "overall", outcomes)], [bias] if bias else [])
    assert table is not None  # somebody has chosen
    said = [[mine[n][0].outcome if n in mine else None for mine in active] for n in range(len(there))]
    return Read(len(active), Judged(name=PEOPLE, asked=sum(map(len, active))), table, agreement(said))


def with_readers(evaluation: Evaluation, read: Read) -> Evaluation:
    """The report with the readers among its judges."""
    there, more = evaluation.matrix, read.matrix
    if there:
        more = Matrix(
            writers=list(dict.fromkeys([*there.writers, *more.writers])),
            duels=[*there.duels, *more.duels],
            scores=[*there.scores, *more.scores],
            bias=[*there.bias, *more.bias],
        )
    told = evaluation.provenance
    return evaluation.model_copy(
        update={
            "matrix": more,
            "figures": [*evaluation.figures, *([read.kappa] if read.kappa else [])],
            "provenance": told.model_copy(update={"judges": [*told.judges, read.judged]}),
        }
    )


def _asked(there: Sequence[Pairing], chosen: Mapping[str, Mapping[str, int | None]]) -> dict[int, tuple[str, str]]:
    """By the number of each pairing that counts, the keys of its question."""
    keys = {n: one.keys for n, one in enumerate(there) if one.default is None}
    ranked = {key for n, two in keys.items() if not there[n].free for key in two}
    alone = {key for mine in chosen.values() for key in mine} - ranked
    read = {there[n].writers for n, two in keys.items() if alone.intersection(two)}
    return {n: two for n, two in keys.items() if not there[n].free or there[n].writers in read}


def _readings(
    asked: Mapping[int, tuple[str, str]], mine: Mapping[str, int | None]
) -> Iterator[tuple[int, tuple[Reading, bool]]]:
    """By the pairing's number what one reader made of it, and whether both ways round."""
    for n, keys in asked.items():
        forth, back = (mine.get(key, _UNREAD) for key in keys)
        if forth != _UNREAD and back != _UNREAD:
            yield n, (Reading(forth, back), True)
        elif forth != _UNREAD:
            yield n, (Reading(forth, None if forth is None else 1 - forth), False)
        elif back != _UNREAD:
            yield n, (Reading(None if back is None else 1 - back, back), False)


_UNREAD = -1


def _outcomes(
    there: Sequence[Pairing], readings: Sequence[Mapping[int, tuple[Reading, bool]]]
) -> dict[tuple[str, str], list[float | None]]:
    """Of each pair of writers, what most readers made of each hand up to the last one read; a draw is a tie."""
    found: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    last = {there[n].writers: n for n in sorted({n for mine in readings for n in mine})}
    for n, pairing in enumerate(there):
        if n > last.get(pairing.writers, -1):
            continue
        said = [mine[n][0].outcome for mine in readings if n in mine]
        mean = sum(said) / len(said) if said else None
        outcome = None if mean is None else TIED if mean == TIED else WON if mean > TIED else LOST
        found[pairing.writers].append(pairing.default if pairing.default is not None else outcome)
    return dict(found)
