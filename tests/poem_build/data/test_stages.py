"""A data set of poems in two stages: outlines from hands, poems from outlines."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from poem.game import builtin_game
from poem.model_keys import STAGES
from poem.outline import POEM_PROMPT_TOKENS, decode_outline, encode_outline, outline_of
from poem.prompt import render_outlined_prompt
from poem.shape import decode
from poem_build.cli import pipeline
from poem_build.data.chats import read_chats, write_chats
from poem_build.data.checks import check_files
from poem_build.data.examples import read_examples, write_examples
from poem_build.errors import DatasetError, RecipeError
from poem_build.export.gguf import convert_folder
from poem_build.models.context import check_poem_prompts
from poem_build.models.inspection import inspect
from poem_build.models.origin import read_origin
from poem_build.models.tokens import Tokens
from poem_build.recipe.schema import Recipe
from support.chain import changed, workshop_of

GAME = builtin_game()


@pytest.fixture(scope="module")
def staged(recipe: Recipe) -> Recipe:
    return changed(recipe, "dataset", stages=2)


@pytest.fixture(scope="module")
def made(staged: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set's folder."""
    return pipeline.make(workshop_of(staged, tmp_path_factory.mktemp("staged")), "dataset").path


def test_each_hand_is_an_outline_to_learn_and_then_its_poem(made: Path, out: Path) -> None:
    plain = read_examples(out / "dataset" / "train.jsonl", GAME)
    chats = read_chats(made / "train.jsonl")
    assert len(chats) == 2 * len(plain)
    for example, first, second in zip(plain, chats[::2], chats[1::2], strict=True):
        outline = decode_outline(first[2]["content"])
        assert outline == outline_of(example.answer)
        assert second[:2] == render_outlined_prompt(GAME.instructions, outline).messages()
        assert decode(second[2]["content"]) == example.answer
        assert not any(pair.card.condition_text in second[1]["content"] for pair in example.hand.pairs)
    read = read_examples(made / "train.jsonl", GAME)
    assert [(one.hand, one.candidates, one.answer) for one in read] == [
        (one.hand, one.candidates, one.answer) for one in plain
    ]
    assert {one.stages for one in read} == {2}
    told = json.loads((made / "dataset.json").read_text("utf-8"))
    assert (told["splits"]["train"]["examples"], told["prompt_version"]) == (24, GAME.prompt_in(2))
    assert check_files([made / "train.jsonl", made / "test.jsonl"], GAME).variety["poems"] == 30


def test_a_game_s_own_instructions_are_what_both_are_learnt_under(out: Path, tmp_path: Path) -> None:
    game, path = replace(GAME, instructions="短く、静かに書く。"), tmp_path / "own.jsonl"
    two = [replace(one, stages=2) for one in read_examples(out / "dataset" / "test.jsonl", GAME)[:2]]
    write_examples(path, game, two)
    assert {chat[0]["content"] for chat in read_chats(path)} == {"短く、静かに書く。"}
    assert read_examples(path, game) == two
    with pytest.raises(DatasetError, match=r"line 1: messages: not the prompt of version [0-9a-f]{12}; make the data"):
        read_examples(path, GAME)


def test_lines_that_do_not_belong_together_are_refused(made: Path, tmp_path: Path) -> None:
    chats = read_chats(made / "train.jsonl")
    first, second, third = chats[:3]
    outline, example = decode_outline(first[2]["content"]), read_examples(made / "train.jsonl", GAME)[0]
    strange = next(poem for poem in chats[1::2] if decode(poem[2]["content"]).title not in example.candidates)
    another = next(title for title in example.candidates if title != outline.title)
    renamed = [*first[:2], {**first[2], "content": encode_outline(replace(outline, title=another))}]
    path = tmp_path / "bent.jsonl"
    for bent, told in (
        ([first], r"line 1: messages: an outline without its poem on the next line; drop it"),
        ([first, strange], r"line 2: messages.2.content: title: .* is not one of the candidates"),
        ([renamed, second], rf"line 1: messages.2.content: '{another}' is not its poem's title; drop both lines"),
        ([second], r"line 1: messages.1.content: .* make the data set again"),
        ([first, [*third[:2], second[2]]], r"line 2: messages: not the prompt of version [0-9a-f]{12}; make the data"),
    ):
        write_chats(path, bent)
        with pytest.raises(DatasetError, match=told):
            read_examples(path, GAME)


def test_a_prompt_that_is_longer_than_it_may_be_is_refused_in_the_tokens_of_the_base(
    staged: Recipe, recipe: Recipe, made: Path, out: Path
) -> None:
    """This base's vocabulary is so small that it needs more tokens than any real one."""
    with pytest.raises(
        RecipeError, match=r"mini: dataset.stages: .* has [34]\d\d tokens of this base's, 300 are allowed"
    ):
        pipeline.make(workshop_of(staged, made.parent), "preflight")
    pipeline.make(workshop_of(recipe, out), "preflight")
    some = [Tokens((0,) * count, (0,)) for count in (600, POEM_PROMPT_TOKENS)]
    check_poem_prompts(staged, some)
    with pytest.raises(RecipeError, match="has 301 tokens"):
        check_poem_prompts(staged, [*some, some[0], Tokens((0,) * (POEM_PROMPT_TOKENS + 1), (0,))])


def test_the_file_that_is_served_says_in_how_many_stages_its_model_writes(
    staged: Recipe, recipe: Recipe, made: Path, out: Path, tmp_path: Path
) -> None:
    assert recipe.base.path is not None
    for one, folder in ((staged, made), (recipe, out / "dataset")):
        target = tmp_path / "vocabulary.gguf"
        convert_folder(recipe.base.path, target, one, read_origin(folder), vocabulary_only=True)
        facts = inspect(target).facts
        assert facts[STAGES] == str(one.dataset.stages)
        assert facts["mansion_poem.prompt_version"] == GAME.prompt_in(one.dataset.stages)
