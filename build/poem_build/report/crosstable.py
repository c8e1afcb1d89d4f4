"""Duels and scores of a report → a table for each judge and aspect, a row a writer, the strongest on top."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from poem_build.evaluation.report import Duel, Figure, Matrix, Strength


@dataclass(frozen=True)
class Standing:
    """One writer among the others."""

    writer: str
    score: Strength
    won: int
    tied: int
    lost: int
    """Hands, against all the others together."""
    against: Sequence[Figure | None]
    """The share won over each, in the order of the rows; None for itself, and for whom it did not meet."""


@dataclass(frozen=True)
class Crosstable:
    """How one judge saw all the writers."""

    judge: str
    aspect: str
    rows: Sequence[Standing]


def crosstables(matrix: Matrix) -> Iterator[Crosstable]:
    """A table for each judge and aspect, as the report has them."""
    for judge, aspect in dict.fromkeys((one.judge, one.aspect) for one in matrix.scores):
        scores = [one for one in matrix.scores if (one.judge, one.aspect) == (judge, aspect)]
        duels = [one for one in matrix.duels if (one.judge, one.aspect) == (judge, aspect)]
        yield Crosstable(judge, aspect, list(_rows(scores, [*duels, *map(_turned, duels)])))


def _rows(scores: Sequence[Strength], duels: Sequence[Duel]) -> Iterator[Standing]:
    met = {(one.first, one.second): one for one in duels}
    ranked = sorted(scores, key=lambda one: -one.score)
    for score in ranked:
        ours = [met.get((score.writer, other.writer)) for other in ranked]
        fought = [one for one in ours if one]
        yield Standing(
            writer=score.writer,
            score=score,
            won=sum(one.won for one in fought),
            tied=sum(one.tied for one in fought),
            lost=sum(one.lost for one in fought),
            against=[one.share if one else None for one in ours],
        )


def _turned(duel: Duel) -> Duel:
    """The same duel as the second of the two tells it."""
    share = duel.share
    ends = {"value": 1 - share.value, "low": 1 - share.high, "high": 1 - share.low}
    told = share.model_copy(update={"writer": duel.second, **ends})
    return duel.model_copy(
        update={"first": duel.second, "second": duel.first, "won": duel.lost, "lost": duel.won, "share": told}
    )
