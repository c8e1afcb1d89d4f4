"""Who won which hand → any writer against any, scores of all, and how far a judge goes by the order.

A pair of poems is read in both orders; a verdict that another order turns over is a tie (Wang et al. 2023, "Large
Language Models are not Fair Evaluators"). A hand that got no poem loses against one that did, and nobody is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from poem_build.evaluation import bootstrap, bradley_terry
from poem_build.evaluation.measures import figure
from poem_build.evaluation.report import Duel, Matrix, OrderBias, Strength

if TYPE_CHECKING:
    import numpy as np

WON, TIED, LOST = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class Contest:
    """One judge's word on one aspect: of each pair of writers, what the first of the two made of each hand.

    None for a hand that both were not asked, or that the judge said nothing readable about.
    """

    judge: str
    aspect: str
    outcomes: Mapping[tuple[str, str], Sequence[float | None]]


@dataclass(frozen=True)
class Reading:
    """What a judge made of one pair in both orders: `first` and `second` are the places that it chose, None a tie."""

    forth: int | None
    """0 or 1: the place in the first order."""
    back: int | None
    """The same where the two have changed places."""

    @property
    def outcome(self) -> float:
        """What the first of the pair made of it."""
        if self.forth is not None and self.back is not None and self.forth != self.back:
            return WON if self.forth == 0 else LOST
        return TIED

    @property
    def overturned(self) -> bool:
        """Whether the same place was chosen both times, so another poem."""
        return self.forth is not None and self.forth == self.back


def by_points(points: Mapping[str, Sequence[float | None]], judge: str) -> Contest:
    """The contest in which more points win."""
    outcomes = {
        (one, other): [_compared(a, b) for a, b in zip(points[one], points[other], strict=True)]
        for one, other in combinations(points, 2)
    }
    return Contest(judge, "overall", outcomes)


def matrix(writers: Sequence[str], contests: Sequence[Contest], bias: Sequence[OrderBias]) -> Matrix | None:
    """All of it, or nothing where no two writers met."""
    duels = [duel for contest in contests for duel in _duels(contest)]
    if not duels:
        return None
    scores = [score for contest in contests for score in _scores(writers, contest)]
    return Matrix(writers=list(writers), duels=duels, scores=scores, bias=list(bias))


def order_bias(judge: str, readings: Sequence[Reading], unread: int) -> OrderBias | None:
    """How often the judge took what stood first; None if it decided nothing."""
    chosen = [place == 0 for reading in readings for place in (reading.forth, reading.back) if place is not None]
    if not chosen:
        return None
    first = bootstrap.share(chosen)
    overturned = bootstrap.share([reading.overturned for reading in readings])
    return OrderBias(
        judge=judge,
        first=figure("judge.first", "answers for the poem that stood first", first, "share", ""),
        overturned=figure("judge.overturned", "verdicts that another order turned", overturned, "share", "lower"),
        biased=not first.low <= 0.5 <= first.high,
        unread=unread,
    )


def _compared(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    return TIED if abs(one - other) < 1e-9 else WON if one > other else LOST


def _duels(contest: Contest) -> list[Duel]:
    found = []
    for (first, second), outcomes in contest.outcomes.items():
        met = [outcome for outcome in outcomes if outcome is not None]
        if met:
            what = f"hands that {first} won over {second}, ties by half"
            share = figure("duel", what, bootstrap.mean(met), "share", "higher", writer=first)
            found.append(
                Duel(
                    first=first,
                    second=second,
                    judge=contest.judge,
                    aspect=contest.aspect,
                    won=met.count(WON),
                    tied=met.count(TIED),
                    lost=met.count(LOST),
                    share=share,
                )
            )
    return found


def _scores(writers: Sequence[str], contest: Contest) -> list[Strength]:
    """Bradley–Terry over hands drawn anew; a writer that met nobody has none."""
    wins = _wins(writers, contest)
    met = [n for n in range(len(writers)) if wins[:, n].any() or wins[:, :, n].any()]
    if len(met) < 2:
        return []
    wins = wins[:, met][:, :, met]
    values = bradley_terry.scores(wins.sum(axis=0))
    again = bootstrap.weights(len(wins)) @ wins.reshape(len(wins), -1)
    drawn = bradley_terry.scores(again.reshape(-1, len(met), len(met)))
    found = []
    for place, n in enumerate(met):
        low, high = bootstrap.bounds(drawn[:, place])
        found.append(
            Strength(
                writer=writers[n],
                judge=contest.judge,
                aspect=contest.aspect,
                score=round(float(values[place]), 4),
                low=round(low, 4),
                high=round(high, 4),
            )
        )
    return found


def _wins(writers: Sequence[str], contest: Contest) -> "np.ndarray":
    """Hand by hand, how much of a win the row's writer has over the column's."""
    import numpy as np

    hands = max(map(len, contest.outcomes.values()), default=0)
    wins = np.zeros((hands, len(writers), len(writers)))
    for (first, second), outcomes in contest.outcomes.items():
        one, other = writers.index(first), writers.index(second)
        for n, outcome in enumerate(outcomes):
            if outcome is not None:
                wins[n, one, other] = outcome
                wins[n, other, one] = 1 - outcome
    return wins
