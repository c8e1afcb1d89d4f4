"""A frame's lines are answered at once where that can be had, and the order that cards are told in is kept."""

from random import Random

import pytest

from poem.layout import arranged, astray, crowded
from poem.sentences import Frame, Sentence

OPENING, TURN, AGAIN, CLOSING = map(Sentence, ("門がひらく。", "灯がともる。", "夢がはじまる。", "夜が明ける。"))


def _told(*stations: int) -> list[Sentence]:
    return [Sentence(f"{sign}を語る。", at) for sign, at in zip("甲乙丙丁戊", stations, strict=False)]


def _after(line: Sentence, paragraphs: tuple[tuple[Sentence, ...], ...]) -> Sentence:
    said = [sentence for paragraph in paragraphs for sentence in paragraph]
    return said[said.index(line) + 1]


@pytest.mark.parametrize("stations", [(2, 2, 2, 2), (1, 2, 2, 2, 1)])
def test_each_line_is_followed_by_what_it_calls_for(stations: tuple[int, ...]) -> None:
    body = _told(*stations)
    first, second = sorted(body, key=lambda one: (one.at, -body.index(one)))[:2]
    calls = {first.text: 1, second.text: 2, body[1].text: 4}
    for seed in range(20):
        paragraphs, answered = arranged(Frame(OPENING, (TURN, AGAIN), CLOSING, calls), body, Random(seed))
        assert answered == 3
        assert [_after(line, paragraphs) for line in (OPENING, TURN, AGAIN)] == [first, second, body[1]]


def test_the_stations_come_before_what_is_called_for() -> None:
    body = _told(0, 1, 2, 3, 4)
    frame = Frame(OPENING, (TURN, AGAIN), CLOSING, {body[4].text: 1, body[3].text: 4})
    for seed in range(20):
        paragraphs, answered = arranged(frame, body, Random(seed))
        assert [one for paragraph in paragraphs for one in paragraph if one in body] == body
        assert answered == 1
        assert _after(AGAIN, paragraphs) == body[3]


def test_without_calls_every_layout_comes_up() -> None:
    body = _told(0, 1, 2, 3, 4)
    shapes = {
        tuple(map(len, arranged(Frame(OPENING, (TURN, AGAIN), CLOSING), body, Random(seed))[0])) for seed in range(100)
    }
    assert len(shapes) == 6


def test_a_season_that_was_over_is_avoided_and_counted() -> None:
    spring, winter = Sentence("春の庭が目をさます。", 1), Sentence("雪の庭が眠る。", 1)
    body = [winter, spring, *_told(2, 3, 4)]
    frame = Frame(OPENING, (TURN, AGAIN), CLOSING)
    for seed in range(20):
        assert astray(frame, arranged(frame, body, Random(seed))[0]) == 0
    assert astray(frame, ((winter, spring), (CLOSING,))) == 1
    assert astray(frame, ((winter,), (spring,))) == 0  # the closing begins the next year
    summer = Frame(Sentence("夏は、影を足す。"), (), CLOSING)
    assert astray(summer, ((summer.opening, winter), (CLOSING,))) == 1
    assert astray(summer, ((summer.opening, body[2], winter), (CLOSING,))) == 0


def test_the_residence_crowds_no_paragraph_if_it_can_be_helped() -> None:
    body = [Sentence("邸は朝を迎える。", 0), *_told(1, 2, 3), Sentence("邸は夜を湛える。", 4)]
    for seed in range(20):
        paragraphs, _ = arranged(Frame(OPENING, (), CLOSING), body, Random(seed))
        assert crowded(paragraphs) == 0
    assert crowded(((body[0], body[4]),)) == 1
