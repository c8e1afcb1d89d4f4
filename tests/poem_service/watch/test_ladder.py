"""The decision, over all that it may be told."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poem.game import builtin_game
from poem_service.errors import Reason
from poem_service.request.fallback import fall_back
from poem_service.watch.ladder import (
    ATTEMPTS_MAX,
    WORTH_ANOTHER,
    AskModel,
    FallBack,
    Situation,
    Wait,
    next_step,
    patience,
    reserve_s,
)
from support.served import a_hand

READY = Situation(
    remaining_s=60,
    obstacle=None,
    answer_s=8,
    holds_slot=False,
    ahead=0,
    slots=1,
)


def test_a_free_slot_is_taken_and_the_model_asked() -> None:
    assert next_step(READY) == Wait(60 - 8)
    assert next_step(replace(READY, holds_slot=True, ahead=1)) == AskModel(60)


def test_a_queue_that_cannot_be_served_in_time_is_not_joined() -> None:
    assert isinstance(next_step(replace(READY, ahead=6)), Wait)
    assert next_step(replace(READY, ahead=7)) == FallBack(Reason.BUSY)
    assert isinstance(next_step(replace(READY, ahead=7, slots=4)), Wait)


def test_a_model_that_is_too_slow_is_not_asked() -> None:
    assert next_step(replace(READY, answer_s=61)) == FallBack(Reason.TOO_SLOW)


def test_a_slot_that_came_too_late_is_given_back() -> None:
    assert next_step(replace(READY, holds_slot=True, remaining_s=7)) == FallBack(Reason.BUSY)


@pytest.mark.parametrize("reason", list(Reason))
def test_only_what_a_fresh_seed_may_mend_is_asked_again(reason: Reason) -> None:
    failed = replace(READY, holds_slot=True, attempts=1, failure=reason, remaining_s=30)
    step = next_step(failed)
    assert step == (AskModel(30) if reason in WORTH_ANOTHER else FallBack(reason))
    assert next_step(replace(failed, attempts=ATTEMPTS_MAX)) == FallBack(reason)
    assert next_step(replace(failed, remaining_s=7)) == FallBack(reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_model_that_nobody_asks_is_not_asked(reason: Reason) -> None:
    assert next_step(replace(READY, obstacle=reason)) == FallBack(reason)
    assert next_step(replace(READY, obstacle=reason, holds_slot=True)) == FallBack(reason)


def test_a_stop_comes_before_whatever_failed() -> None:
    failed = replace(READY, holds_slot=True, attempts=1, failure=Reason.RULES)
    assert next_step(replace(failed, obstacle=Reason.STOPPING)) == FallBack(Reason.STOPPING)
    assert next_step(replace(failed, obstacle=Reason.BREAKER_OPEN)) == FallBack(Reason.RULES)


@given(
    remaining_s=st.floats(-5, 90),
    answer_s=st.floats(0, 200),
    ahead=st.integers(0, 50),
    slots=st.integers(1, 8),
    holds_slot=st.booleans(),
    attempts=st.integers(0, 4),
    failure=st.none() | st.sampled_from(Reason),
    obstacle=st.none() | st.sampled_from(Reason),
)
def test_no_step_ever_spends_what_is_kept_for_the_fallback(
    remaining_s: float,
    answer_s: float,
    ahead: int,
    slots: int,
    holds_slot: bool,
    attempts: int,
    failure: Reason | None,
    obstacle: Reason | None,
) -> None:
    at = Situation(remaining_s, obstacle, answer_s, holds_slot, ahead, slots, attempts, failure)
    step = next_step(at)
    if isinstance(step, Wait | AskModel):
        assert 0 <= step.limit_s <= remaining_s
        assert obstacle is None
        assert attempts < ATTEMPTS_MAX or failure is None
    else:
        assert isinstance(step.reason, Reason)


def test_a_share_of_the_deadline_is_kept_for_the_fallback() -> None:
    assert [reserve_s(deadline_s) for deadline_s in (1.0, 4.0, 60.0)] == [0.5, 0.5, 3.0]


def test_patience_grows_with_the_pace() -> None:
    assert patience(0.01, 0.001, 1.0).gap_s == 3.0
    assert patience(4.0, 0.5, 30.0).first_s == 40.0
    assert patience(4.0, 0.5, 30.0).gap_s == 25.0
    assert patience(4.0, 0.5, 30.0).whole_s == 90.0


def test_the_fallback_writes_the_same_poem_for_the_same_seed() -> None:
    hand = a_hand(3)
    titles = ("家に帰る", "窓を開ける")
    game = builtin_game()
    assert fall_back(game, hand, titles, 7, None) == fall_back(game, hand, titles, 7, None)
