"""Every rung has a net below it."""

from collections.abc import Iterator
from typing import Any

import pytest

from poem.game import builtin_game
from poem.hand import Answer, Hand
from poem.rules import check
from poem_service.request import fallback
from poem_service.request.fallback import SPARE, fall_back, look_up
from support.served import a_hand

GAME = builtin_game()
HAND = a_hand(3)
TITLES = GAME.deck.catchphrases[:20]
GOOD = fall_back(GAME, HAND, TITLES, 1, None).answer


class Rows:
    """A table that finds what it is told to."""

    def __init__(self, *found: Any) -> None:
        self.found = found
        self.asked: list[bool] = []

    def find(self, hand: Hand, *, by_hand: bool = False) -> Iterator[Answer]:
        self.asked.append(by_hand)
        for one in self.found:
            if isinstance(one, Exception):
                raise one
            yield one


def test_the_table_s_poem_comes_before_a_composed_one() -> None:
    found = fall_back(GAME, HAND, TITLES, 2, Rows(GOOD))
    assert (found.answer, found.source, found.waived) == (GOOD, "table", False)


def test_a_poem_for_another_wording_is_taken_where_it_keeps_the_rules() -> None:
    found = fall_back(GAME, HAND, TITLES, 2, Rows(Answer(GOOD.title, "短い。"), GOOD))
    assert (found.answer, found.source) == (GOOD, "table")


@pytest.mark.parametrize(
    "row",
    [
        Answer(GOOD.title, 5),  # type: ignore[arg-type]
        Answer(None, GOOD.poem),  # type: ignore[arg-type]
        Answer(GOOD.title, b"\xff"),  # type: ignore[arg-type]
        Answer(GOOD.title, "短い。"),
        "no answer at all",
        ValueError("a row of another kind"),
    ],
)
def test_whatever_the_table_holds_a_poem_comes(row: Any) -> None:
    found = fall_back(GAME, HAND, TITLES, 2, Rows(row))
    assert found.source == "composed"
    assert check(found.answer, HAND, TITLES) == []


def test_a_broken_row_does_not_hide_the_next(caplog: pytest.LogCaptureFixture) -> None:
    assert look_up(GAME, HAND, Rows(Answer(GOOD.title, 5), GOOD)) is not None  # type: ignore[arg-type]
    assert look_up(GAME, HAND, Rows(ValueError("gone"))) is None
    assert "the table cannot be used" in caplog.text


def test_whatever_the_composer_meets_a_poem_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("no such thread")

    monkeypatch.setattr(fallback, "compose", fail)
    found = fall_back(GAME, HAND, TITLES, 2, None)
    assert (found.answer.poem, found.source, found.waived) == (SPARE, "composed", True)
    assert found.answer.title in TITLES


def test_the_spare_poem_keeps_the_rules_of_any_hand_that_it_gives_nothing_away_of() -> None:
    for seed in range(50):
        broken = check(Answer(TITLES[0], SPARE), a_hand(seed), TITLES)
        assert {violation.rule for violation in broken} <= {"giveaway"}
