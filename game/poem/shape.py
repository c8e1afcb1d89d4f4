"""The shape of a poem, once: as numbers, as a regular expression, as JSON schema and as GBNF grammar.

The constraint given to an engine is looser than the rules: paragraphs, sentences that close by themselves, and the
characters. How long a poem is in all is the rules' business, since a window on lengths closes a sentence wherever
the window ends, and a sentence cut to fit breaks no rule and reads as none (docs/log.md).
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache

from poem.hand import Answer

PARAGRAPH_BREAK = "\n"
PARAGRAPHS = (3, 4)
"""From how many to how many a poem has."""
SENTENCES = (1, 4)
"""From how many to how many a paragraph is let have."""
SENTENCE = (4, 60)
"""Characters of a sentence, 「。」 included."""
POEM_LENGTH = range(180, 241)

_CHARACTERS = "ぁ-んァ-ヶー一-鿿々〇〆、・「」『』…―"
_JUNK = re.compile(f"[^{_CHARACTERS}。\n]")


def junk(text: str) -> re.Match[str] | None:
    """The first character that a poem may not hold: control, half-width, space, Latin, emoji …"""
    return _JUNK.search(text)


def paragraphs(poem: str) -> list[str]:
    """The poem's paragraphs."""
    return poem.split(PARAGRAPH_BREAK)


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with its 「。」; what a line or the text ends unclosed counts as one."""
    return re.findall(r"[^。\n]*。|[^。\n]+", text)


@cache
def poem_pattern() -> str:
    """The poem as a regular expression over its JSON text, for the `pattern` of a JSON schema.

    Engines match it against the encoded string: a line break is there as backslash and n.
    """
    paragraph = f"({_sentence('。')}){_times(SENTENCES)}"
    first, rest = PARAGRAPHS[0] - 1, PARAGRAPHS[1] - 1
    return rf"^{paragraph}(\\n{paragraph}){_times((first, rest))}$"


def answer_schema(titles: Sequence[str]) -> dict[str, object]:
    """JSON schema of an answer: `title` one of the candidates, then `poem` of the right shape."""
    return {
        "type": "object",
        "properties": {
            "title": {"type": "string", "enum": list(titles)},
            "poem": {"type": "string", "pattern": poem_pattern()},
        },
        "required": ["title", "poem"],
        "additionalProperties": False,
    }


def answer_grammar(titles: Iterable[str]) -> str:
    """The same constraint as GBNF, for llama.cpp in process; the JSON is compact."""
    first, rest = PARAGRAPHS[0] - 1, PARAGRAPHS[1] - 1
    return "\n".join(
        [
            r'root ::= "{\"title\":" title ",\"poem\":\"" poem "\"}"',
            title_rule(titles),
            rf'poem ::= paragraph ("\\n" paragraph){_times((first, rest))}',
            f"paragraph ::= sentence{_times(SENTENCES)}",
            f"sentence ::= {_sentence(_literal('。'))}",
            "",
        ]
    )


def title_rule(titles: Iterable[str]) -> str:
    """The grammar's rule for a title: one of those, as JSON has it."""
    return "title ::= " + " | ".join(_literal(_json(title)) for title in titles)


def _literal(text: str) -> str:
    """The text as GBNF writes it, which has JSON's escapes for quote and backslash."""
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def encode(answer: Answer) -> str:
    """The answer as the model writes it: compact JSON, `title` first."""
    return _json({"title": answer.title, "poem": answer.poem})


def decode(text: str) -> Answer:
    """The answer in a model's text; raises `ValueError` if it is anything but that one JSON object."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("the answer is nested too deeply") from error
    if not isinstance(found, dict) or found.keys() != {"title", "poem"}:
        raise ValueError("the answer is not one object of title and poem")
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError("title and poem are not both strings")
    return Answer(found["title"], found["poem"])


def _sentence(stop: str) -> str:
    low, high = SENTENCE
    return f"[{_CHARACTERS}]{_times((low - 1, high - 1))}{' ' if stop != '。' else ''}{stop}"


def _times(window: tuple[int, int]) -> str:
    return f"{{{window[0]},{window[1]}}}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
