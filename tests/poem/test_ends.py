"""What leads in and out of a stranger's title takes up what the title names."""

from collections import Counter
from random import Random

import pytest

from poem.ends import answer, most_answering, names_of
from poem.sentences import Frame, Sentence
from poem.store import Motif, store

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


@pytest.mark.parametrize(
    ("title", "said", "less"),
    [
        ("丘に暮らす。", "鉄瓶に暮らす。", "鉄瓶が暮れる。"),  # to live somewhere, to grow dark
        ("官邸の丘。", "官邸に鉄瓶を置く。", "邸に鉄瓶を置く。"),  # one sign of a name answers nothing
        ("美術館の丘。", "美術に鉄瓶を置く。", "術に鉄瓶を置く。"),  # a pair of signs does
        ("森の丘。", "森に鉄瓶を置く。", "森林に鉄瓶を置く。"),
    ],
)
def test_what_a_title_names_is_looked_for_in_the_lines(title: str, said: str, less: str) -> None:
    hill = store().motifs["hill"]
    assert _answering(title, hill, said) > _answering(title, hill, less) >= 0


def test_what_is_apart_answers_less_than_what_names_nothing_and_another_word_for_it_does_not() -> None:
    green, hill = store().motifs["green"], store().motifs["hill"]
    assert _answering("花の邸。", green, "公園に鉄瓶を置く。") < _answering("花の邸。", green, "鉄瓶を置く。")
    assert _answering("高台の邸。", hill, "丘に鉄瓶を置く。") >= _answering("高台の邸。", hill, "鉄瓶を置く。")


def _answering(title: str, motif: Motif, said: str) -> float:
    """How well a frame answers that says this in each of its lines."""
    line = Sentence(said)
    return answer(title, names_of(title), motif, Frame(line, (), line))


def test_an_address_asks_for_nothing() -> None:
    first = Counter(most_answering(["鉄瓶県の丘。", "鉄瓶簿の丘。"], "way", Random(seed))[0][0] for seed in range(50))
    assert first["鉄瓶県の丘。"] > 2 * first["鉄瓶簿の丘。"]


def test_a_thread_without_ends_for_titles_brings_its_own() -> None:
    rain = store().threads["rain"]
    found = most_answering(["鉄瓶の帳簿。"], "rain", Random(1))
    assert found
    assert all(frame.opening in rain.openings and frame.closing in rain.closings for _, frame in found)


def _text(frame: Frame) -> str:
    return "".join(line.text for line in frame.lines)
