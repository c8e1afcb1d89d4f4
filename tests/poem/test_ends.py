"""What leads in and out of a stranger's title takes up what the title names."""

from collections import Counter
from random import Random

import pytest

from poem.ends import most_answering
from poem.store import store

ANSWERABLE = ["丘の静けさに住む。", "都心の森へ。", "空と時のあいだ。", "庭園の四季。"]
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


def test_an_address_asks_for_nothing() -> None:
    first = Counter(most_answering(["鉄瓶県の丘。", "鉄瓶簿の丘。"], "way", Random(seed))[0][0] for seed in range(50))
    assert first["鉄瓶県の丘。"] > 2 * first["鉄瓶簿の丘。"]


def test_a_thread_without_ends_for_titles_brings_its_own() -> None:
    rain = store().threads["rain"]
    found = most_answering(["鉄瓶の帳簿。"], "rain", Random(1))
    assert found
    assert all(opening in rain.openings and closing in rain.closings for _, opening, closing in found)
