"""From how long answers took to how long the next will take."""

import pytest

from poem_service.watch.pace import ANSWER_TOKENS, Pace, pace_of_trial


def test_a_trial_that_was_only_begun_tells_what_a_long_answer_takes() -> None:
    pace = pace_of_trial(first_s=1.0, tokens=11, seconds=2.0)
    assert pace == Pace(1.0, 0.1, 1.0 + ANSWER_TOKENS * 0.1, 1.0)
    assert pace.tokens_per_s == 10.0
    assert pace_of_trial(0.0, 1, 0.0).tokens_per_s is None


def test_a_real_answer_moves_it_by_a_fifth() -> None:
    pace = Pace(1.0, 0.1, 25.0, 1.0).mixed(first_s=2.0, tokens=101, seconds=12.0)
    assert [pace.first_s, pace.piece_s, pace.answer_s] == pytest.approx([1.2, 0.1, 22.4])
    assert pace.alone_first_s == 1.0  # that is what the trial says, and nobody's waiting


def test_an_answer_in_one_piece_tells_its_whole_time_only() -> None:
    pace = Pace(1.0, 0.1, 25.0, 1.0).mixed(first_s=None, tokens=0, seconds=5.0)
    assert [pace.first_s, pace.piece_s, pace.answer_s] == pytest.approx([1.0, 0.1, 21.0])
