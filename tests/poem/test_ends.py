"""What leads in and out of a stranger's title takes up what the title names."""

from collections import Counter
from random import Random

import pytest

from poem.ends import most_answering
from poem.sentences import Frame
from poem.store import store

ANSWERABLE = [
    *("丘の静けさに住む。", "都心の森へ。", "空と時のあいだ。", "庭園の四季。"),
    *("海と塔の夢。", "光の私邸。", "美の邸宅。", "家族の朝。"),
]
ODD = [
    f"{thing}と{other}の{rest}。"
    for thing in ("電化", "大勝軒")
    for other in ("価格", "鉄瓶")
    for rest in ("軌条", "帳簿")
]


@pytest.mark.parametrize("thread", ["dusk", "morning", "seasons", "way"])
def test_a_title_that_can_be_answered_comes_before_one_that_cannot(thread: str) -> None:
    drawn = Counter(
        title for seed in range(50) for title, *_ in most_answering([*ODD, *ANSWERABLE], thread, Random(seed))
    )
    assert sum(drawn[title] for title in ODD) < 0.15 * drawn.total()


@pytest.mark.parametrize("thread", ["dusk", "morning", "seasons", "way"])
def test_a_garden_is_answered_by_gardens(thread: str) -> None:
    for seed in range(20):
        found = most_answering(["「庭園」に住まう。"], thread, Random(seed))[:2]
        assert all("庭" in _text(frame) for _, frame in found)
        assert not any(word in frame.opening.text for _, frame in found for word in ("公園", "水", "海"))


def test_what_is_named_with_a_whole_noun_comes_before_who_is_addressed() -> None:
    for seed in range(20):
        for thread in ("morning", "way"):
            assert "テラス" in _text(most_answering(["テラス人になろう。"], thread, Random(seed))[0][1])


def test_one_sign_of_a_name_answers_nothing() -> None:
    """Most closings have their 邸, and 官邸 is another thing."""
    first = Counter(most_answering(["鉄瓶の丘。", "官邸の丘。"], "dusk", Random(seed))[0][0] for seed in range(200))
    assert 70 < first["官邸の丘。"] < 130


def test_a_verb_is_known_by_its_ending() -> None:
    """暮らす is to live somewhere, 暮れる to grow dark."""
    first = [_text(most_answering(["この丘で暮らす。"], "dusk", Random(seed))[0][1]) for seed in range(50)]
    assert sum("暮れ" in text for text in first) < 15


def test_an_address_asks_for_nothing() -> None:
    first = Counter(most_answering(["鉄瓶県の丘。", "鉄瓶簿の丘。"], "way", Random(seed))[0][0] for seed in range(50))
    assert first["鉄瓶県の丘。"] > 2 * first["鉄瓶簿の丘。"]


def test_a_thread_without_ends_for_titles_brings_its_own() -> None:
    rain = store().threads["rain"]
    found = most_answering(["鉄瓶の帳簿。"], "rain", Random(1))
    assert found
    assert all(frame.opening in rain.openings and frame.closing in rain.closings for _, frame in found)


def test_a_thing_of_the_same_kind_that_the_title_does_not_name_answers_less_than_none() -> None:
    for seed in range(50):
        _, frame = most_answering(["砂浜の朝。"], "morning", Random(seed))[0]
        assert not any(word in _text(frame) for word in ("岬", "運河", "湖", "泉"))


def _text(frame: Frame) -> str:
    return "".join(line.text for line in frame.lines)
