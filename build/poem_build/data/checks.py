"""Files of chats → what is wrong with them, line by line, and how varied their poems are.

What is wrong: lines that are no chats, broken rules, the same or nearly the same twice, in one file or in two, and
personal data. How varied: openings, runs of characters, and what a teacher says too often.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poem import shape
from poem.game import Game
from poem.hand import Pair
from poem.pattern import pattern_key
from poem_build.data.examples import Example, Placed, example_of, grouped, pairs_of
from poem_build.data.formats import Chats, read_any
from poem_build.data.near import Near
from poem_build.data.personal import personal
from poem_build.data.runs import distinct, runs
from poem_build.errors import DatasetError
from poem_build.teacher.money import TOKENS_A_CHARACTER

NEARLY_THE_SAME = 0.6
"""Likeness of two poems by runs of three characters; two that share half of their sentences have about a third."""
_TIC_RUN, _TIC_SHARE, _TICS = 6, 0.05, 10
"""A tic is a run of so many characters in more than that share of the poems."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and where."""

    kind: str
    where: str
    what: str


@dataclass
class Findings:
    """All that was found in some files."""

    problems: list[Problem] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    variety: dict[str, Any] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As the report has it."""
        kinds = Counter(one.kind for one in self.problems)
        told = [{"kind": one.kind, "where": one.where, "what": one.what} for one in self.problems]
        return {"files": self.files, "variety": self.variety, "counts": dict(kinds), "problems": told}


def counted(counts: Mapping[str, int]) -> str:
    """The problems of each kind, in words."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing wrong"


@dataclass(frozen=True, slots=True)
class _Poem:
    file: str
    where: str
    text: str
    hand: str | None


def check_files(paths: Sequence[Path], game: Game) -> Findings:
    """What is to be said of the files, which are taken as splits of one data set. Raises `DatasetError`."""
    found, poems = Findings(), []
    pairs = pairs_of(game)
    for path in paths:
        read = read_any(path)
        found.problems += [Problem("malformed", f"{path}: line {n}", what) for n, what in read.broken]
        found.files[str(path)] = _file(read)
        chats = [(f"{path}: line {n}", chat) for n, chat in read.chats]
        poems += [_poem(found, path, some, game, pairs) for some in grouped(chats)]
    _repeats(found, poems)
    texts = [one.text for one in poems]
    found.lengths = [len(text) for text in texts]
    found.variety = _variety(texts)
    return found


def _file(read: Chats) -> dict[str, Any]:
    characters = sum(len(message["content"]) for _, chat in read.chats for message in chat)
    tokens = round(characters * TOKENS_A_CHARACTER)
    return {"shape": read.shape, "chats": len(read.chats), "broken": len(read.broken), "tokens_about": tokens}


def _poem(found: Findings, path: Path, chats: Sequence[Placed], game: Game, pairs: Mapping[str, Pair]) -> _Poem:
    """The poem of a chat, or of an outline's and its own; what is wrong with it alone goes to the problems."""
    where, chat = chats[-1]
    answer = chat[-1]["content"]
    found.problems += [Problem("personal data", where, f"{kind} {what}") for kind, what in personal(answer)]
    example: Example | None = None
    try:
        example = example_of(chats, game, pairs)
    except DatasetError as error:
        found.problems.append(Problem("rules", where, str(error).removeprefix(f"{where}: ")))
    text, hand = answer, None
    if example:
        text, hand = example.answer.poem, pattern_key(example.hand)
    return _Poem(str(path), where, text, hand)


def _repeats(found: Findings, poems: Iterable[_Poem]) -> None:
    near = Near(NEARLY_THE_SAME, run=3)
    by_where: dict[str, _Poem] = {}
    texts: dict[str, _Poem] = {}
    hands: dict[str, _Poem] = {}
    for poem in poems:
        if poem.hand and (other := hands.setdefault(poem.hand, poem)) is not poem and other.file != poem.file:
            found.problems.append(Problem("leak", poem.where, f"the hand of {other.where}"))
        if (other := texts.setdefault(poem.text, poem)) is not poem:
            if other.file != poem.file:
                found.problems.append(Problem("leak", poem.where, f"the text of {other.where}"))
            elif other.hand != poem.hand or poem.hand is None:
                found.problems.append(Problem("duplicate", poem.where, f"the text of {other.where}"))
            continue
        for name, likeness in near.like(poem.text):
            kind = "duplicate" if by_where[name].file == poem.file else "leak"
            found.problems.append(Problem(kind, poem.where, f"nearly the text of {name} ({likeness:.0%})"))
        near.add(poem.where, poem.text)
        by_where[poem.where] = poem


def _variety(texts: Sequence[str]) -> dict[str, Any]:
    """How varied the texts are, in figures."""
    if not texts:
        return {}
    sentences = [shape.sentences(text) for text in texts]
    openings = Counter(some[0] for some in sentences if some)
    endings = Counter(one[-4:] for some in sentences for one in some)
    tics = Counter(run for text in texts for run in dict.fromkeys(runs(text, _TIC_RUN)) if "。" not in run)
    often = [run for run, count in tics.most_common(2000) if count > max(2, _TIC_SHARE * len(texts))]
    return {
        "poems": len(texts),
        "distinct_openings": round(len(openings) / len(texts), 3),
        "distinct": {str(n): _distinct(texts, n) for n in (2, 3, 4)},
        "openings": dict(openings.most_common(_TICS)),
        "endings": dict(endings.most_common(_TICS)),
        "tics": _phrases(often, texts),
    }


def _distinct(texts: Sequence[str], n: int) -> float:
    """The share of all runs of n characters that are different ones."""
    parts, counts = distinct(texts, n)
    return round(sum(parts) / max(1, sum(counts)), 4)


def _phrases(often: Iterable[str], texts: Sequence[str]) -> dict[str, int]:
    """The runs as the phrases that they are parts of, and how many texts have each: a longer phrase is told once."""
    found: dict[str, int] = {}
    for run in often:
        if len(found) < _TICS and not any(part in phrase for phrase in found for part in runs(run, 4)):
            phrase = _grown(run, [text for text in texts if run in text])
            found[phrase] = sum(phrase in text for text in texts)
    return found


def _grown(phrase: str, texts: Sequence[str]) -> str:
    """The phrase with what stands before and behind it in most of the texts, up to the end of a sentence."""
    while following := _mostly([text.partition(phrase)[2][:1] for text in texts if phrase in text], len(texts)):
        phrase += following
    while before := _mostly([text.partition(phrase)[0][-1:] for text in texts if phrase in text], len(texts)):
        phrase = before + phrase
    return phrase


def _mostly(characters: Sequence[str], of: int) -> str:
    character, count = Counter(characters).most_common(1)[0]
    return character if count > of / 2 and character != "。" else ""
