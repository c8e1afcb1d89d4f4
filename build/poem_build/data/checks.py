"""Files of chats → what is wrong with them, line by line, and how varied their poems are.

What is wrong: lines that are no chats, broken rules, the same or nearly the same twice, in one file or in two, and
personal data. How varied: openings, runs of characters, and what a teacher says too often.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from poem import shape
from poem.game import Game
from poem.hand import Answer, Pair
from poem.pattern import pattern_key
from poem_build.data.chats import Messages
from poem_build.data.dataset import FILE as ABOUT
from poem_build.data.examples import Placed, example_of, grouped, pairs_of
from poem_build.data.formats import Chats, read_any
from poem_build.data.near import Near
from poem_build.data.personal import personal
from poem_build.data.runs import distinct, runs
from poem_build.data.taught import FILE as TAUGHT
from poem_build.errors import DatasetError
from poem_build.teacher.money import TOKENS_A_CHARACTER

NEARLY_THE_SAME = 0.6
"""Likeness of two poems by runs of three characters; two that share half of their sentences have about a third."""
_LINES = 5
"""Of something that comes again, the lines that are told."""
_TIC_RUN, _TIC_SHARE, _TICS = 6, 0.05, 10
"""A tic is a run of so many characters in more than that share of the poems."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and where."""

    kind: str
    where: str
    what: str
    fails: bool = True
    """False for a repetition in a file of which nobody tells whether it is meant."""


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
        return {
            "files": self.files,
            "variety": self.variety,
            "counts": dict(kinds),
            "problems": [asdict(one) for one in self.problems],
        }


def counted(counts: Mapping[str, int]) -> str:
    """The problems of each kind, in words."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing wrong"


@dataclass(frozen=True, slots=True)
class _Poem:
    file: Path
    where: str
    chats: Sequence[Messages]
    text: str
    hand: str | None = None
    by_hand: bool = False


def check_files(paths: Sequence[Path], game: Game) -> Findings:
    """What is to be said of the files, which are taken as splits of one data set. Raises `DatasetError`."""
    found, poems = Findings(), []
    pairs = pairs_of(game)
    by_hand = {(pattern_key(poem.hand), poem.answer) for poem in game.poems if not poem.held_out}
    for path in paths:
        read = read_any(path)
        found.problems += [Problem("malformed", f"{path}: line {n}", what) for n, what in read.broken]
        found.files[str(path)] = _file(read)
        chats = [(f"{path}: line {n}", chat) for n, chat in read.chats]
        found.problems += [one for placed in chats for one in _about_persons(*placed)]
        poems += [_poem(found, path, some, game, pairs, by_hand) for some in grouped(chats)]
    _repeats(found, poems)
    texts = [one.text for one in poems]
    found.lengths = [len(text) for text in texts]
    found.variety = _variety(texts)
    return found


def _file(read: Chats) -> dict[str, Any]:
    characters = sum(len(message["content"]) for _, chat in read.chats for message in chat)
    tokens = round(characters * TOKENS_A_CHARACTER)
    return {"shape": read.shape, "chats": len(read.chats), "broken": len(read.broken), "tokens_about": tokens}


def _about_persons(where: str, chat: Messages) -> Iterator[Problem]:
    for message in chat:
        for kind, what in _personal(message["content"]):
            yield Problem("personal data", where, f"{kind} {what} ({message['role']})")


@lru_cache(maxsize=16)  # what the system says is the same in every chat, mostly
def _personal(text: str) -> Sequence[tuple[str, str]]:
    return tuple(personal(text))


def _poem(
    found: Findings,
    path: Path,
    placed: Sequence[Placed],
    game: Game,
    pairs: Mapping[str, Pair],
    by_hand: Set[tuple[str, Answer]],
) -> _Poem:
    """The poem of a chat, or of an outline's and its own; rules that it breaks go to the problems."""
    where, chats = placed[-1][0], [chat for _, chat in placed]
    try:
        example = example_of(placed, game, pairs)
    except DatasetError as error:
        found.problems.append(Problem("rules", where, str(error).removeprefix(f"{where}: ")))
        return _Poem(path, where, chats, chats[-1][-1]["content"])
    hand = pattern_key(example.hand)
    return _Poem(path, where, chats, example.answer.poem, hand, (hand, example.answer) in by_hand)


def _repeats(found: Findings, poems: Sequence[_Poem]) -> None:
    near = Near(NEARLY_THE_SAME, run=3)
    by_where: dict[str, _Poem] = {}
    texts: dict[str, _Poem] = {}
    hands: dict[str, _Poem] = {}
    told = {path: _told_by_hand(path) for path in dict.fromkeys(poem.file for poem in poems)}
    for poem in poems:
        if poem.hand and (other := hands.setdefault(poem.hand, poem)) is not poem and other.file != poem.file:
            found.problems.append(Problem("leak", poem.where, f"the hand of {other.where}"))
        if (other := texts.setdefault(poem.text, poem)) is not poem:
            if other.file != poem.file:
                found.problems.append(Problem("leak", poem.where, f"the text of {other.where}"))
            continue
        for name, likeness in near.like(poem.text):
            what = f"nearly the text of {name} ({likeness:.0%})"
            if by_where[name].file == poem.file:
                found.problems.append(Problem("duplicate", poem.where, what, fails=told[poem.file] is not None))
            else:
                found.problems.append(Problem("leak", poem.where, what))
        near.add(poem.where, poem.text)
        by_where[poem.where] = poem
    for path, by_hand in told.items():
        found.problems += _again([poem for poem in poems if poem.file == path], by_hand)


def _again(poems: Sequence[_Poem], by_hand: int | None) -> Iterator[Problem]:
    """What comes more than once in a file, but for poems by hand that come as often as the data set tells."""
    same: dict[str, list[_Poem]] = {}
    for poem in poems:
        same.setdefault(poem.text, []).append(poem)
    different = sum(some[0].by_hand for some in same.values())
    for some in same.values():
        if len(some) == 1 or (some[0].by_hand and len(some) * different <= (by_hand or 0)):
            continue
        what = "conversation" if all(one.chats == some[0].chats for one in some) else "answer"
        lines = [one.where.rpartition(" ")[2] for one in some]
        more = f" and {len(lines) - _LINES} more" if len(lines) > _LINES else ""
        on = f"on lines {', '.join(lines[:_LINES])}{more}"
        yield Problem("duplicate", some[0].where, f"the same {what} {len(some)} times, {on}", fails=by_hand is not None)


def _told_by_hand(path: Path) -> int | None:
    """How many poems by hand a split has, repetitions and all, by what lies beside it; None for a file not ours."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        told = int(json.loads((path.parent / ABOUT).read_text("utf-8"))["handwritten"])
        return told if path.name.startswith("train.") else 0
    return 0 if (path.parent / TAUGHT).is_file() else None


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
