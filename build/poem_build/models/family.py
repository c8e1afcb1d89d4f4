"""A family's name → how its models are talked to: templates, ends of a turn, tokenizer, and what is trained of them.

Each family is a module of `families/` with a `FAMILY`, and two templates in `modelfiles/`.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from poem_build.errors import ModelFileError
from poem_build.models.tokens import Tokens, continued, opened
from poem_build.recipe.schema import Base, Recipe, family_names

MODELFILES = Path(__file__).resolve().parents[3] / "modelfiles"
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Family:
    """What models of one kind have in common."""

    name: str
    stop: tuple[str, ...]
    """What ends a turn in the family's templates: one token each."""
    pre_tokenizer: str
    """llama.cpp's name for the split that the tokenizer makes; token parity is what proves it."""
    tokenizer: str = ""
    """Where its token ids were compared with llama.cpp's on a published vocabulary; empty where none was seen."""
    licence: str = ""
    """What all of its models are under, whoever made them; empty where each has its own."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """The matrices that an adapter is trained for, as peft names them."""
    # transformers writes neither tokenizer.model nor all of a slow tokenizer's files, so they are copied as they are.
    tokenizer_files: tuple[str, ...] = (
        "tokenizer*",
        "spiece.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
    )

    @property
    def templates(self) -> dict[str, Path]:
        """The family's files in `modelfiles/`: the chat template, and Ollama's."""
        return {
            "chat template": MODELFILES / f"{self.name}.chat.jinja",
            "Ollama's template": MODELFILES / f"{self.name}.ollama.gotmpl",
        }

    @property
    def chat_template(self) -> str:
        """The Jinja source of the template, as tokenizers and GGUF files carry it."""
        return self.templates["chat template"].read_text("utf-8").rstrip("\n")

    @property
    def ollama_template(self) -> str:
        """The same for Ollama, in Go's language."""
        return self.templates["Ollama's template"].read_text("utf-8")

    def render(self, messages: Messages, *, answer_follows: bool) -> str:
        """The messages as one text; with `answer_follows` it ends where the assistant's answer begins.

        It does not start with the token that opens a text (BOS): whoever tokenizes it adds that one, once.
        """
        template = _compiled(self.chat_template)
        return str(template.render(messages=messages, add_generation_prompt=answer_follows, bos_token=""))

    def prompt(self, messages: Messages) -> str:
        """The text that asks for the answer to the messages, the last of which may be that answer already."""
        asked = messages[:-1] if messages[-1]["role"] == "assistant" else messages
        return self.render(asked, answer_follows=True)

    def tokens(self, tokenizer: Any, messages: Messages) -> Tokens:
        """Token ids of messages that end with their answer; prompt and answer apart, as they are when it is asked.

        Raises `ModelFileError` for a template whose prompt is no beginning of the whole text: there would be no
        telling what of it is the answer.
        """
        prompt = self.prompt(messages)
        whole = self.render(messages, answer_follows=False)
        if not whole.startswith(prompt):
            raise ModelFileError(
                f"{self.templates['chat template']}: asks with a text that does not begin the answered one, "
                f"{_parting(prompt, whole)!r}; write what stands before an answer in both"
            )
        answer = whole.removeprefix(prompt).rstrip("\n")
        return Tokens(tuple(opened(tokenizer, prompt)), tuple(continued(tokenizer, answer)))

    def split(self, base: Base) -> str:
        """llama.cpp's name for the split that the base's tokenizer makes."""
        return base.pre_tokenizer or self.pre_tokenizer


def family(name: str) -> Family:
    """The family of that name; a recipe has been checked for it."""
    found: Family = importlib.import_module(f"{_module(name)}").FAMILY
    return found


def check_end(talk: Family, encode: Callable[[str], Sequence[int]], where: Path) -> None:
    """Raises `ModelFileError` if what ends a turn in the family is not one token of the vocabulary at `where`.

    `encode` gives the ids of a text, with special tokens read as such and none added.
    """

    def ends(one: Family) -> bool:
        return len(encode(one.stop[0])) == 1

    if not ends(talk):
        fitting = ", ".join(name for name in family_names() if ends(family(name))) or "none that is known"
        raise ModelFileError(
            f"{where}: base.family: {talk.name} ends a turn with {talk.stop[0]}, which is no token here; families "
            f"whose end is one: {fitting}"
        )


def modules(recipe: Recipe) -> tuple[str, ...]:
    """What a stage that talks to the recipe's model runs besides its imports."""
    return (_module(recipe.base.family),)


def templates(recipe: Recipe) -> dict[str, Path]:
    """What a stage that talks to the recipe's model reads."""
    return {"chat template": family(recipe.base.family).templates["chat template"]}


def _module(name: str) -> str:
    return f"poem_build.models.families.{name}"


def _parting(prompt: str, whole: str) -> str:
    """The prompt from where it parts from the whole text."""
    same = next((n for n, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(whole))
    return prompt[same:][:40]


@cache
def _compiled(source: str) -> Any:
    # The settings of transformers' apply_chat_template.
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(source)
