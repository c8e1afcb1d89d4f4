"""What people chose, counted as the judges' word is, and how far they agree."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest

from poem.game import builtin_game
from poem_build.evaluation import people
from poem_build.evaluation.agreement import agreement
from poem_build.evaluation.answers import Sheet
from poem_build.evaluation.people import Pairing, count, pairings, read_chosen, with_readers, write_chosen
from support.evaluations import an_evaluation

GAME = builtin_game()
HANDS = 4


@pytest.fixture
def pairs(sheets: list[Sheet]) -> list[Pairing]:
    rows = [row for sheet in sheets for tries in sheet.tries for row in tries]
    return pairings(rows, GAME, ["composer", "hand"], HANDS)


def _read(
    path: Path, reader: str, there: Sequence[Pairing], choose: Callable[[int, bool], Literal["first", "second", "same"]]
) -> None:
    for n, one in enumerate(there):
        for turned in (False, True):
            write_chosen(path, reader, one.key(turned=turned), choose(n, turned))


def _by_hand(_: int, turned: bool) -> Literal["first", "second"]:
    return "first" if turned else "second"


def test_what_most_readers_chose_both_ways_round_wins(pairs: list[Pairing], tmp_path: Path) -> None:
    path = tmp_path / people.FILE
    assert [one.writers for one in pairs] == [("composer", "hand")] * HANDS
    for reader in ("一", "二"):
        _read(path, reader, pairs, _by_hand)
    _read(path, "三", pairs, lambda n, turned: "second" if turned else "first")
    read = count(pairs, read_chosen(path))
    assert read is not None
    (duel,) = read.matrix.duels
    assert (duel.first, duel.second, duel.judge, duel.won, duel.tied, duel.lost) == (
        *("composer", "hand", "people"),
        *(0, 0, HANDS),
    )
    assert (read.readers, read.judged.asked) == (3, 3 * HANDS)
    assert not any(one.biased for one in read.matrix.bias)
    assert {one.writer: one.score > 0 for one in read.matrix.scores} == {"composer": False, "hand": True}
    assert read.kappa is not None
    assert read.kappa.value < 0.01  # the third always disagrees


def test_whoever_always_takes_the_left_one_decides_nothing_and_is_found(pairs: list[Pairing], tmp_path: Path) -> None:
    path = tmp_path / people.FILE
    _read(path, "左", pairs, lambda n, turned: "first")
    read = count(pairs, read_chosen(path))
    assert read is not None
    (duel,), (bias,) = read.matrix.duels, read.matrix.bias
    assert (duel.won, duel.tied, duel.lost) == (0, HANDS, 0)
    assert (bias.first.value, bias.overturned.value, bias.biased) == (1.0, 1.0, True)


@pytest.mark.parametrize("turned", [False, True])
def test_one_order_counts_for_whoever_stopped_early(pairs: list[Pairing], turned: bool, tmp_path: Path) -> None:
    path = tmp_path / people.FILE
    assert count(pairs, read_chosen(path)) is None
    write_chosen(path, "早", pairs[1].key(turned=turned), "second" if turned else "first")
    read = count(pairs, read_chosen(path))
    assert read is not None
    (duel,) = read.matrix.duels
    assert (duel.won, duel.tied, duel.lost, duel.share.count) == (1, 0, 0, 1)
    assert (read.matrix.bias, read.kappa) == ([], None)


def test_a_poem_that_is_missing_loses_and_nobody_is_asked(sheets: list[Sheet]) -> None:
    composed, by_hand = ([row for tries in sheet.tries for row in tries] for sheet in sheets)
    failed = by_hand[0].model_copy(update={"verdicts": {"rules": ["length"]}})
    one, other = pairings([*composed, failed, *by_hand[1:]], GAME, ["composer", "hand"], 2)
    assert (one.default, other.default) == (1.0, None)


def test_what_nobody_has_read_of_two_writers_counts_for_nothing(sheets: list[Sheet], tmp_path: Path) -> None:
    """A poem that is missing loses where hands of the two were read, up to the last of those."""
    composed, by_hand = ([row for tries in sheet.tries for row in tries] for sheet in sheets)
    failed = [row.model_copy(update={"verdicts": {"rules": ["length"]}}) for row in by_hand]
    third = [row.model_copy(update={"writer": "base/free"}) for row in failed]
    rows = [*composed, by_hand[0], failed[1], by_hand[2], failed[3], *by_hand[4:], *third]
    there = pairings(rows, GAME, ["composer", "hand", "base/free"], HANDS)
    path = tmp_path / people.FILE
    _read(path, "一", [one for one in there if one.default is None], _by_hand)
    read = count(there, read_chosen(path))
    assert read is not None
    (duel,) = read.matrix.duels
    assert (duel.first, duel.second, duel.won, duel.lost) == ("composer", "hand", 1, 2)
    assert read.matrix.writers == ["composer", "hand"]


@pytest.mark.parametrize(("alike", "expected"), [(HANDS, 1), (HANDS - 1, 2)])
def test_whoever_is_asked_freely_counts_where_a_poem_of_theirs_alone_was_read(
    sheets: list[Sheet], alike: int, expected: int, tmp_path: Path
) -> None:
    """Without the schema a model often says the same; who read the one has not read the other."""
    composed, by_hand = ([row for tries in sheet.tries for row in tries][: HANDS + 1] for sheet in sheets)
    said = [row.text for n, row in enumerate(composed) if n != alike]
    free = [
        row.model_copy(update={"writer": "model/free", "text": text}) for row, text in zip(composed, said, strict=False)
    ]
    path = tmp_path / people.FILE
    there = pairings([*composed, *by_hand, *free], GAME, ["composer", "hand", "model/free"], HANDS)
    _read(path, "一", [one for one in there if one.writers != ("composer", "model/free")], _by_hand)
    read = count(there, read_chosen(path))
    assert read is not None
    assert (len(read.matrix.duels), read.judged.asked) == (expected, expected * HANDS)


def test_a_later_choice_takes_an_earlier_one_s_place_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / people.FILE
    write_chosen(path, "一", "k", "first")
    write_chosen(path, "一", "k", "same")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"at": "now", "rea')
    assert read_chosen(path) == {"一": {"k": None}}


def test_only_a_line_feed_ends_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "readings.jsonl"
    write_chosen(path, "一\u2028二", "k", "first")
    assert read_chosen(path) == {"一\u2028二": {"k": 0}}


def test_readers_stand_among_a_report_s_judges(pairs: list[Pairing], tmp_path: Path) -> None:
    path = tmp_path / people.FILE
    _read(path, "一", pairs, _by_hand)
    read = count(pairs, read_chosen(path))
    assert read is not None
    before = an_evaluation()
    report = with_readers(before, read)
    assert report.matrix is not None
    assert before.matrix is not None
    assert len(report.matrix.duels) == len(before.matrix.duels) + 1
    assert report.provenance.judges[-1] == read.judged


def test_the_kappa_of_two_is_cohen_s_and_of_more_is_fleiss_s() -> None:
    """20 and 15 times the same of 50, 5 and 10 times not: 0.4. Fleiss's of 14 raters and 10 things: 0.210."""
    two = [(1.0, 1.0)] * 20 + [(1.0, 0.0)] * 5 + [(0.0, 1.0)] * 10 + [(0.0, 0.0)] * 15
    found = agreement(two)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.low < 0.2 < 0.6 < found.high
    rated = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    many = [[float(kind) for kind, times in enumerate(row) for _ in range(times)] for row in rated]
    found = agreement(many)
    assert found is not None
    assert found.value == pytest.approx(0.210, abs=0.001)
    assert agreement([(1.0, None)]) is None
    assert agreement([(1.0, 1.0), (1.0, 1.0)]) is None
