"""The shape of a poem, once: as numbers, as a regular expression, as JSON schema and as GBNF grammar.

A poem has 3 or 4 paragraphs of 2 or 3 sentences. The paragraph's length window cannot be said by a
regular expression together with the number of its sentences, so each window is tiled by alternatives:
a sentence of this length goes with one of that. The alternatives are few on purpose, because an
engine carries every open one along with each token.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache

from poem.hand import Answer

PARAGRAPH_BREAK = "\n"
POEM_LENGTH = range(180, 241)
SENTENCE_MAX = 60

# Sentence lengths in characters, 「。」 included, both ends allowed. For 3 paragraphs of 60–79:
THREE = (
    ((20, 24), (40, 55)),
    ((25, 29), (35, 50)),
    ((30, 34), (30, 45)),
    ((35, 39), (25, 40)),
    ((40, 44), (20, 35)),
    ((45, 50), (15, 29)),
    ((20, 26), (20, 26), (20, 27)),
    ((12, 17), (24, 33), (24, 29)),
)
# and for 4 paragraphs of 45–59:
FOUR = (
    ((15, 19), (30, 40)),
    ((20, 24), (25, 35)),
    ((25, 29), (20, 30)),
    ((30, 34), (15, 25)),
    ((35, 39), (10, 20)),
    ((15, 19), (15, 20), (15, 20)),
)
Shape = tuple[tuple[tuple[int, int], ...], ...]
LAYOUTS: dict[int, Shape] = {3: THREE, 4: FOUR}

_CHARACTERS = "ぁ-んァ-ヶー一-鿿々〇〆、・「」『』…―"
_JUNK = re.compile(f"[^{_CHARACTERS}。\n]")


def junk(text: str) -> re.Match[str] | None:
    """The first character that a poem may not hold: control, half-width, space, Latin, emoji …"""
    return _JUNK.search(text)


def paragraphs(poem: str) -> list[str]:
    """The poem's paragraphs."""
    return poem.split(PARAGRAPH_BREAK)


def sentences(text: str) -> list[str]:
    """The sentences of a text without line breaks, each with its 「。」; an unclosed rest counts as one."""
    return re.findall(r"[^。]*。|[^。]+$", text)


@cache
def fitting(shape: Shape) -> frozenset[tuple[int, ...]]:
    """Every row of sentence lengths that makes one paragraph of the shape."""
    found: set[tuple[int, ...]] = set()
    for alternative in shape:
        lengths: list[tuple[int, ...]] = [()]
        for low, high in alternative:
            lengths = [(*head, n) for head in lengths for n in range(low, high + 1)]
        found.update(lengths)
    return frozenset(found)


@cache
def poem_pattern() -> str:
    """The poem as a regular expression over its JSON text, for the `pattern` of a JSON schema.

    Engines match it against the encoded string: a line break is there as backslash and n.
    """
    poems = []
    for n, shape in LAYOUTS.items():
        paragraph = "|".join("".join(_sentence(r, "。") for r in alt) for alt in shape)
        poems.append(r"\\n".join([f"({paragraph})"] * n))
    return f"^({'|'.join(poems)})$"


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
    lines = [
        r'root ::= "{\"title\":\"" title "\",\"poem\":\"" poem "\"}"',
        "title ::= " + " | ".join(json.dumps(title, ensure_ascii=False) for title in titles),
        "poem ::= " + " | ".join(" ".join([f"p{n}"] + [rf'"\\n" p{n}'] * (n - 1)) for n in LAYOUTS),
    ]
    for n, shape in LAYOUTS.items():
        lines.append(f"p{n} ::= " + " | ".join(" ".join(_sentence(r, ' "。"') for r in alt) for alt in shape))
    return "\n".join(lines) + "\n"


def _sentence(window: tuple[int, int], stop: str) -> str:
    low, high = window
    return f"[{_CHARACTERS}]{{{low - 1},{high - 1}}}{stop}"


def encode(answer: Answer) -> str:
    """The answer as the model writes it: compact JSON, `title` first."""
    return json.dumps({"title": answer.title, "poem": answer.poem}, ensure_ascii=False, separators=(",", ":"))


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
