import json
import re
from random import Random

import pytest

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Answer, deal, draw_candidates
from poem.shape import answer_grammar, answer_schema, decode, encode, poem_pattern, sentences

GAME = builtin_game()
DECK = GAME.deck
TITLES = DECK.catchphrases[:20]


def _encoded(poem: str) -> str:
    return json.dumps(poem, ensure_ascii=False)[1:-1]


def test_the_pattern_takes_what_the_composer_writes_and_nothing_bent() -> None:
    pattern = re.compile(poem_pattern())
    rng = Random(8)
    for seed in range(300):
        poem = compose(GAME, deal(DECK, rng), TITLES, seed).answer.poem
        assert pattern.fullmatch(_encoded(poem))
        for bent in (poem[:-1], poem + "。", poem.replace("\n", ""), poem.replace("。", "、"), "A" + poem[1:]):
            assert not pattern.fullmatch(_encoded(bent))


@pytest.mark.parametrize(
    ("poem", "fits"),
    [
        ("一文目。\n二文目。\n三文目。", True),
        ("一文目。\n二文目。\n三文目。\n四文目。", True),
        ("一文目。\n二文目。", False),
        ("一文目。\n" * 4 + "五文目。", False),
        ("一文目。" * 5 + "\n二文目。\n三文目。", False),
        ("文。\n二文目。\n三文目。", False),
        ("道" * 59 + "。\n二文目。\n三文目。", True),
        ("道" * 60 + "。\n二文目。\n三文目。", False),
        ("一文目\n。二文目。\n三文目。", False),
    ],
)
def test_a_sentence_ends_where_the_model_ends_it(poem: str, fits: bool) -> None:
    assert bool(re.fullmatch(poem_pattern(), _encoded(poem))) is fits


def test_the_schema_names_title_before_poem() -> None:
    schema = answer_schema(TITLES)
    assert list(schema["properties"]) == ["title", "poem"] == schema["required"]  # type: ignore[call-overload]
    assert schema["properties"]["title"]["enum"] == list(TITLES)  # type: ignore[index]


def test_grammar_and_pattern_say_the_same() -> None:
    rules = dict(line.split(" ::= ") for line in answer_grammar(TITLES).splitlines())
    sentence = rules["sentence"].replace('"', "").replace(" ", "")
    paragraph = rules["paragraph"].replace("sentence", f"({sentence})")
    poem = rules["poem"].replace('"', "").replace(" ", "").replace("paragraph", paragraph)
    assert f"^{poem}$" == poem_pattern()


@pytest.mark.parametrize("title", ['"和"と"Wa"の間に。', "春\\夏", "𠮷野の春", "🌸の丘", "静けさ。"])
def test_a_title_stands_in_the_grammar_as_json_writes_it(title: str) -> None:
    line = answer_grammar([title]).splitlines()[1]
    literal = line.removeprefix("title ::= ")
    # What the literal matches: GBNF's escapes undone, it is the title's own JSON.
    assert literal[1:-1].replace(r"\"", '"').replace(r"\\", "\\") == json.dumps(title, ensure_ascii=False)


def test_an_answer_survives_encoding() -> None:
    answer = compose(GAME, deal(DECK, Random(1)), draw_candidates(DECK, Random(1)), 1).answer
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


def test_a_sentence_ends_with_its_stop_or_with_its_line() -> None:
    assert sentences("朝が来る。夜\n夜が来る。。\n\n昼") == ["朝が来る。", "夜", "夜が来る。", "。", "昼"]
    assert sentences("") == []
