"""A family's chat template: messages → the text that a model is trained on and asked with."""

from functools import cache
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from poem_build.data.dataset import Example
from poem_build.recipe.schema import MODELFILES


def chat_template(family: str) -> str:
    """The Jinja source of the family's template, as tokenizers and GGUF files carry it."""
    return (MODELFILES / f"{family}.chat.jinja").read_text("utf-8").rstrip("\n")


def render_chat(family: str, messages: list[dict[str, str]], *, answer_follows: bool) -> str:
    """The messages as one text; with `answer_follows` it ends where the assistant's answer begins.

    It does not start with the token that opens a text (BOS): whoever tokenizes it adds that one, once.
    """
    return str(_compiled(family).render(messages=messages, add_generation_prompt=answer_follows, bos_token=""))


def trained_prompt(family: str, example: Example) -> str:
    """The text that asks for the example's answer, up to where that begins."""
    return render_chat(family, example.messages()[:-1], answer_follows=True)


@cache
def _compiled(family: str) -> Any:
    # The settings of transformers' apply_chat_template.
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(chat_template(family))
