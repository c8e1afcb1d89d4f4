"""How a family's models are talked to, and that nothing of a prompt is ever taken for an answer."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from poem_build.data.chats import read_chats
from poem_build.errors import ModelFileError
from poem_build.models.family import MODELFILES, Family, family
from poem_build.recipe.schema import Recipe, family_names

THINKING = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
ASKS = "{% if add_generation_prompt %}<assistant><think></think>{% endif %}"


@dataclass(frozen=True)
class Thinker(Family):
    """A family whose prompt ends with an empty thought that no answered text holds."""

    @property
    def chat_template(self) -> str:
        return THINKING + ASKS


def test_every_family_is_whole() -> None:
    assert len(family_names()) == 11
    for name in family_names():
        one = family(name)
        assert one.name == name
        assert all(path.is_file() for path in one.templates.values())
        assert one.stop[0] in one.chat_template
        assert not {"<think>", "</think>", "tools"} & set(re.findall(r"</?think>|tools", one.chat_template))
    assert {path.name.split(".")[0] for path in MODELFILES.glob("*.chat.jinja")} == set(family_names())


def test_prompt_and_answer_are_what_the_template_renders(out: Path, recipe: Recipe) -> None:
    tokenizer = AutoTokenizer.from_pretrained(out / "base-2")
    chat, talk = read_chats(out / "dataset" / "valid.jsonl")[0], family(recipe.base.family)
    tokens = talk.tokens(tokenizer, chat)
    assert tokenizer.decode(tokens.prompt) == talk.prompt(chat) == talk.render(chat[:-1], answer_follows=True)
    text = tokenizer.decode(tokens.prompt + tokens.answer)
    assert text == talk.render(chat, answer_follows=False).rstrip("\n")
    assert tokenizer.decode(tokens.answer[-1:]) == "<|im_end|>"
    assert tokenizer.decode(tokens.answer).startswith('{"title":"')


def test_a_prompt_that_the_answered_text_does_not_begin_with_is_refused(out: Path) -> None:
    """A thought in the generation prompt alone: all that was asked would be learnt as if it were the answer."""
    chat = read_chats(out / "dataset" / "valid.jsonl")[0]
    tokenizer = AutoTokenizer.from_pretrained(out / "base-2")
    thinker = Thinker(name="chatml", stop=("<end>",), pre_tokenizer="qwen2")
    with pytest.raises(ModelFileError) as refused:
        thinker.tokens(tokenizer, chat)
    assert str(refused.value) == (
        f"{MODELFILES / 'chatml.chat.jinja'}: asks with a text that does not begin the answered one, "
        "'<think></think>'; write what stands before an answer in both"
    )


def test_a_recipe_may_name_another_split_than_its_family_s(recipe: Recipe) -> None:
    talk = family("chatml")
    assert talk.split(recipe.base) == "qwen2"
    assert talk.split(recipe.base.model_copy(update={"pre_tokenizer": "llama-bpe"})) == "llama-bpe"
    assert replace(talk, pre_tokenizer="other").split(recipe.base) == "other"
