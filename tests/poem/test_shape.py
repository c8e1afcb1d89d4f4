import json
import re
from random import Random

import pytest

from poem.composer import compose
from poem.deck import builtin_deck
from poem.hand import Answer, deal, draw_candidates
from poem.shape import LAYOUTS, answer_grammar, answer_schema, decode, encode, fitting, poem_pattern

DECK = builtin_deck()
TITLES = DECK.catchphrases[:20]


def _encoded(poem: str) -> str:
    return json.dumps(poem, ensure_ascii=False)[1:-1]


def test_every_fitting_row_of_sentences_stays_in_the_window() -> None:
    windows = {3: range(60, 80), 4: range(45, 60)}
    for count, shape in LAYOUTS.items():
        for lengths in fitting(shape):
            assert sum(lengths) in windows[count]
            assert 2 <= len(lengths) <= 3
            assert max(lengths) <= 60


def test_the_pattern_takes_what_the_composer_writes_and_nothing_bent() -> None:
    pattern = re.compile(poem_pattern())
    rng = Random(8)
    for seed in range(300):
        poem = compose(deal(DECK, rng), TITLES, seed).answer.poem
        assert pattern.fullmatch(_encoded(poem))
        for bent in (poem[:-1], poem + "。", poem.replace("\n", ""), poem.replace("。", "、"), "A" + poem[1:]):
            assert not pattern.fullmatch(_encoded(bent))


def test_the_schema_names_title_before_poem() -> None:
    schema = answer_schema(TITLES)
    assert list(schema["properties"]) == ["title", "poem"] == schema["required"]  # type: ignore[call-overload]
    assert schema["properties"]["title"]["enum"] == list(TITLES)  # type: ignore[index]


def test_grammar_and_pattern_say_the_same() -> None:
    # The GBNF's sentence rules, turned back into a regular expression.
    rules = dict(line.split(" ::= ") for line in answer_grammar(TITLES).splitlines())
    for name in ("p3", "p4"):
        paragraph = "(" + rules[name].replace('"', "").replace(" | ", "|").replace(" ", "") + ")"
        assert paragraph in poem_pattern()
    assert rules["poem"] == r'p3 "\\n" p3 "\\n" p3 | p4 "\\n" p4 "\\n" p4 "\\n" p4'


def test_an_answer_survives_encoding() -> None:
    answer = compose(deal(DECK, Random(1)), draw_candidates(DECK, Random(1)), 1).answer
    assert decode(encode(answer)) == answer
    assert encode(answer).startswith('{"title":"')


def test_an_answer_nested_too_deeply_is_no_answer() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        decode("[" * 100_000)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"title":"a"}', '{"title":"a","poem":1}', '{"title":"a","poem":"b","x":1}', '{"title":"a"']
)
def test_anything_else_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)


def test_an_answer_is_two_strings() -> None:
    assert decode('{"title": "a",\n "poem": "b"}') == Answer("a", "b")
