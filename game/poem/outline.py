"""A poem in two stages: a hand → an outline, which is a title and a word for each sentence to come; it → the poem.

After "Plan-and-Write" (Yao et al. 2019, arXiv:1811.05701), whose storyline has a word a sentence too. The poem is
then asked for without cards and candidates, from a prompt of a few hundred tokens at most.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from poem.hand import Answer
from poem.shape import junk, sentences, title_rule

Stages = Literal[1, 2]
WORDS = (3, 10)
"""From how many to how many an outline has."""
WORD_LENGTH = (1, 8)
"""Characters of a word."""
POEM_PROMPT_TOKENS = 300
"""That the prompt of the second stage may have, in the tokens of the model that it is for."""

_CHARACTERS = "ぁ-んァ-ヶー一-鿿々"
_RUN = re.compile(r"[一-鿿々]+|[ァ-ヶー]{2,}")


@dataclass(frozen=True, slots=True)
class Outline:
    """What a poem is to be written from."""

    title: str
    words: tuple[str, ...]


def outline_of(answer: Answer) -> Outline:
    """The outline that a finished poem would have had: of each sentence its longest run of kanji or katakana."""
    found: list[str] = []
    for sentence in sentences(answer.poem):
        runs = [run[: WORD_LENGTH[1]] for run in _RUN.findall(sentence)]
        fresh = [run for run in runs if run not in found]
        if fresh:
            found.append(max(fresh, key=len))
    return Outline(answer.title, tuple(found[: WORDS[1]]))


def encode_outline(outline: Outline) -> str:
    """The outline as the model writes it: compact JSON, `title` first."""
    content = {"title": outline.title, "words": outline.words}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def decode_outline(text: str) -> Outline:
    """The outline in a model's text; raises `ValueError` for anything but that one JSON object."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("the outline is nested too deeply") from error
    if not isinstance(found, dict) or found.keys() != {"title", "words"} or not isinstance(found["words"], list):
        raise ValueError("the outline is not one object of title and words")
    title, words = found["title"], found["words"]
    if not all(isinstance(one, str) and one for one in (title, *words)):
        raise ValueError("title and words are not all texts")
    if not WORDS[0] <= len(words) <= WORDS[1]:
        raise ValueError(f"an outline has {WORDS[0]} to {WORDS[1]} words, got {len(words)}")
    if strange := [word for word in words if len(word) > WORD_LENGTH[1] or junk(word)]:
        raise ValueError(f"{strange[0]!r} is no word of a poem")
    return Outline(title, tuple(words))


def outline_schema(titles: Sequence[str]) -> dict[str, object]:
    """JSON schema of an outline."""
    word = {"type": "string", "pattern": f"^{_word()}$"}
    words = {"type": "array", "items": word, "minItems": WORDS[0], "maxItems": WORDS[1]}
    return {
        "type": "object",
        "properties": {"title": {"type": "string", "enum": list(titles)}, "words": words},
        "required": ["title", "words"],
        "additionalProperties": False,
    }


def outline_grammar(titles: Iterable[str]) -> str:
    """The same constraint as GBNF; the JSON is compact."""
    low, high = WORDS
    return "\n".join(
        [
            rf'root ::= "{{\"title\":" title ",\"words\":[" word ("," word){{{low - 1},{high - 1}}} "]}}"',
            title_rule(titles),
            rf'word ::= "\"" {_word()} "\""',
            "",
        ]
    )


@cache
def _word() -> str:
    return f"[{_CHARACTERS}]{{{WORD_LENGTH[0]},{WORD_LENGTH[1]}}}"
