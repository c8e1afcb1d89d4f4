"""The analyser's word on whole sentences and lemmas, against sentences written by hand and the same ones cut."""

import re
from random import Random

import pytest

from poem.game import builtin_game
from poem.store import store
from poem_build.judge.language import content_lemmas, is_whole

SENTENCES = [s for text in [*builtin_game().sentences.all(), *store().all()] for s in re.findall("[^。]*。", text.text)]


def test_what_was_written_by_hand_is_whole() -> None:
    whole = sum(map(is_whole, SENTENCES))
    assert whole / len(SENTENCES) >= 0.99


def test_of_sentences_cut_anywhere_many_are_seen() -> None:
    rng = Random(1)
    cut = [s[: rng.randint(8, len(s) - 3)] + "。" for s in rng.sample(SENTENCES, 1000) if len(s) >= 14]
    assert sum(not is_whole(s) for s in cut) / len(cut) >= 0.4


@pytest.mark.parametrize(
    ("sentence", "whole"),
    [
        ("街の終章に、一枚の門がひらく。", True),
        ("夜ごとの静けさを見届けよ。", True),
        ("雪の朝。", True),
        ("灯がともる、帰る人のために。", True),
        ("春には待つことを、冬には聴くことを。", True),
        ("色という色が風をはらみ、目覚めの窓は。", False),
        ("邸は風を招き。", False),
        ("夕べの灯に、邸の。", False),
        ("を越えて、道がのびる。", False),
        ("。", False),
    ],
)
def test_a_sentence_is_whole_or_cut(sentence: str, whole: bool) -> None:
    assert is_whole(sentence) is whole


def test_lemmas_are_what_a_text_is_about() -> None:
    assert content_lemmas("静けさを守る丘") & content_lemmas("丘が静けさに守られる") == {"静けさ", "丘", "守る"}
