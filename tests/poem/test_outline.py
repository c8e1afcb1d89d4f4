"""Outlines of poems, and the two prompts of a poem in two stages."""

import json
import re
from random import Random

import pytest

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Answer, Hand, deal, draw_candidates
from poem.outline import (
    WORD_LENGTH,
    WORDS,
    Outline,
    decode_outline,
    encode_outline,
    outline_grammar,
    outline_of,
    outline_schema,
)
from poem.prompt import prompt_version, render_outline_prompt, render_outlined_prompt, render_prompt

GAME = builtin_game()
TITLES = GAME.deck.catchphrases[:20]


def _composed(count: int) -> list[tuple[Hand, Answer]]:
    rng = Random(4)
    hands = [deal(GAME.deck, rng) for _ in range(count)]
    return [(hand, compose(GAME, hand, TITLES, seed).answer) for seed, hand in enumerate(hands)]


def test_an_outline_has_the_title_and_a_word_of_each_sentence_in_their_order() -> None:
    answer = Answer("題", "石の門に灯がともる。街の灯が遠い。\nテラスに朝が来る。\n庭園はひらく。")
    assert outline_of(answer) == Outline("題", ("石", "街", "テラス", "庭園"))


def test_every_poem_has_an_outline_that_survives_being_written_and_is_what_the_shape_allows() -> None:
    word = re.compile(outline_schema(TITLES)["properties"]["words"]["items"]["pattern"])  # type: ignore[index]
    poems = [answer for _, answer in _composed(100)] + [one.answer for one in GAME.poems]
    for answer in poems:
        outline = outline_of(answer)
        assert decode_outline(encode_outline(outline)) == outline
        assert all(word.fullmatch(one) and one in answer.poem.replace("\n", "") for one in outline.words)
        assert len(set(outline.words)) == len(outline.words)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"title": "題", "poem": "文。"}, "not one object of title and words"),
        ({"title": "題", "words": "石門庭"}, "not one object of title and words"),
        ({"title": "題", "words": ["石", "門", 3]}, "not all texts"),
        ({"title": "題", "words": ["石", "門"]}, "3 to 10 words, got 2"),
        ({"title": "題", "words": ["石", "門", "石" * 9]}, "is no word of a poem"),
        ({"title": "題", "words": ["石", "門", "a"]}, "'a' is no word of a poem"),
    ],
)
def test_anything_else_is_no_outline(content: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        decode_outline(json.dumps(content))
    with pytest.raises(ValueError, match="nested too deeply"):
        decode_outline("[" * 100_000)


def test_grammar_and_schema_say_the_same() -> None:
    rules = dict(line.split(" ::= ") for line in outline_grammar(TITLES).splitlines())
    words = outline_schema(TITLES)["properties"]["words"]  # type: ignore[index]
    assert f"^{rules['word'].split(' ')[1]}$" == words["items"]["pattern"]
    assert (words["minItems"], words["maxItems"]) == WORDS
    assert f'word ("," word){{{WORDS[0] - 1},{WORDS[1] - 1}}} "]' in rules["root"]
    assert rules["word"].endswith(f'{{{WORD_LENGTH[0]},{WORD_LENGTH[1]}}} "\\""')
    assert '"\\"' + TITLES[0] in rules["title"]


def test_the_second_prompt_has_the_outline_and_nothing_of_the_hand_and_shares_its_instructions_with_the_first() -> None:
    hand, answer = _composed(1)[0]
    outline, titles = outline_of(answer), draw_candidates(GAME.deck, Random(1))
    first, second = (
        render_outline_prompt(GAME.instructions, hand, titles),
        render_outlined_prompt(GAME.instructions, outline),
    )
    assert first.system == second.system != GAME.instructions
    assert render_prompt("", hand, titles).user in first.user
    assert outline.title in second.user
    assert "、".join(outline.words) in second.user
    assert len(second.system) + len(second.user) < 330
    assert first.then(second).user == f"{first.user}\n\n{second.user}"


def test_a_game_s_own_instructions_are_those_of_both_stages_and_of_their_version() -> None:
    hand, answer = _composed(1)[0]
    own, titles = "短く、静かに書く。", draw_candidates(GAME.deck, Random(1))
    first, second = render_outline_prompt(own, hand, titles), render_outlined_prompt(own, outline_of(answer))
    usual = render_outline_prompt(GAME.instructions, hand, titles)
    assert (first.system, second.system) == (own, own)
    assert first.user == usual.user
    assert len({prompt_version(text, 2) for text in (own, f"{own}強く。", GAME.instructions)}) == 3


def test_todays_version_is_pinned_because_trained_models_carry_it() -> None:
    assert GAME.prompt_in(1) == GAME.prompt_version
    assert GAME.prompt_in(2) == "c2ac3cd106f2"
