"""Bradley–Terry against strengths that are known, and what makes a tie."""

from random import Random

import numpy as np
import pytest

from poem_build.evaluation import bradley_terry, matrix
from poem_build.evaluation.matrix import LOST, TIED, WON, Contest, Reading


def test_the_strengths_that_the_games_were_drawn_from_come_back() -> None:
    known, rng = np.array([0.9, 0.1, -1.0]), Random(3)
    chances = 1 / (1 + np.exp(known[None, :] - known[:, None]))
    outcomes = {
        (a, b): [WON if rng.random() < chances[n, m] else LOST for _ in range(600)]
        for n, a in enumerate("abc")
        for m, b in enumerate("abc")
        if n < m
    }
    found = matrix.matrix(list("abc"), [Contest("j", "overall", outcomes)], [])
    assert found is not None
    for score, strength in zip(found.scores, known, strict=True):
        assert score.score == pytest.approx(strength, abs=0.15)
        assert score.low < strength < score.high


def test_two_writers_are_as_far_apart_as_their_odds() -> None:
    wins = np.array([[0, 30.0], [10.0, 0]])
    found = bradley_terry.scores(wins)
    assert found[0] - found[1] == pytest.approx(np.log(30.5 / 10.5), abs=1e-6)
    assert np.isfinite(bradley_terry.scores(np.array([[0, 5.0], [0, 0]]))).all()


@pytest.mark.parametrize(
    ("forth", "back", "outcome", "overturned"),
    [(0, 1, WON, False), (1, 0, LOST, False), (0, 0, TIED, True), (1, 1, TIED, True), (None, 0, TIED, False)],
)
def test_a_verdict_counts_only_in_both_orders(
    forth: int | None, back: int | None, outcome: float, overturned: bool
) -> None:
    reading = Reading(forth, back)
    assert (reading.outcome, reading.overturned) == (outcome, overturned)


def test_more_points_win_and_a_writer_that_met_nobody_has_no_score() -> None:
    points: dict[str, list[float | None]] = {"a": [2.0, 1.0, None], "b": [1.0, 1.0, 5.0], "c": [None, None, None]}
    contest = matrix.by_points(points, "counted")
    assert contest.outcomes["a", "b"] == [WON, TIED, None]
    found = matrix.matrix(["a", "b", "c"], [contest], [])
    assert found is not None
    assert [(one.first, one.second, one.won, one.tied, one.lost) for one in found.duels] == [("a", "b", 1, 1, 0)]
    assert [score.writer for score in found.scores] == ["a", "b"]
