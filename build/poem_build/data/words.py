"""A game → questions for what the composer needs of its deck, and answers → sentences that it can use.

A question is a card's wordings, each of which gets its worth and a sentence on each of four threads; or some titles,
each of which gets its thread and two frames: an opening, two turns and a closing.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poem.deck import Card, Wording, giveaway_terms
from poem.game import Game
from poem.rules import PHRASE, sentence_violations
from poem.sentences import STATIONS
from poem.store import store
from poem_build.data.near import Near
from poem_build.data.poems import PROMPTS
from poem_build.recipe.teaching import Teaching
from poem_build.store.digest import digest_of
from poem_build.teacher.asking import AnswerError
from poem_build.teacher.money import Price, expected
from poem_build.teacher.protocol import Ask, Usage

THREADS = ("dusk", "morning", "seasons", "way")
TITLES_AT_ONCE = 5
FRAMES = 2
CHARACTERS = 1100
"""Of an answer for a card, its JSON included."""
MAX_TOKENS = 3072
_NEARLY_THE_SAME = 0.6
# Characters with 「。」, of a text and of a frame's four lines: five cards' sentences with one make 180 to 240.
_BODY = range(27, 35)
_LINES = (range(6, 19), range(5, 15), range(5, 15), range(16, 37))
_FRAME = range(45, 67)


@dataclass
class Written:
    """What an answer holds, in the shape of the game's files."""

    values: dict[str, list[str]] = field(default_factory=dict)
    wordings: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    titles: dict[str, dict[str, Any]] = field(default_factory=dict)

    def texts(self) -> list[str]:
        """Every sentence."""
        found = [one["text"] for threads in self.wordings.values() for some in threads.values() for one in some]
        return found + [text for entry in self.titles.values() for frame in entry["frames"] for text in frame]


class Words:
    """What is missing of a game's words, as questions, and whoever judges the answers."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._cards: dict[str, tuple[Card, tuple[Wording, ...]]] = {}
        self._titles: dict[str, tuple[str, ...]] = {}
        self._near = Near(_NEARLY_THE_SAME)
        self._owners: dict[str, str] = {}
        for sentence in game.sentences.all():
            self._remember("", sentence.text)

    @staticmethod
    def prompts() -> str:
        """All that the questions begin with."""
        return f"{_prompt('card.txt')}\0{_prompt('titles.txt')}"

    def asks(self) -> list[Ask]:
        """A question for each card that has wordings without sentences, then for titles without frames."""
        return [*self._card_asks(), *self._title_asks()]

    def accept(self, ask: Ask, text: str) -> None:
        """Remember the sentences of an answer that was taken before, so that no other may be nearly the same."""
        try:
            written = self._parse(ask, text)
        except AnswerError:
            return
        for one in written.texts():
            self._remember(ask.key, one)

    def read(self, ask: Ask, text: str) -> Written:
        """What the answer holds. Raises `AnswerError` naming everything that is wrong with it."""
        written = self._parse(ask, text)
        wrong = list(self._wrong(ask, written))
        if wrong:
            raise AnswerError("; ".join(wrong))
        for one in written.texts():
            self._remember(ask.key, one)
        return written

    def _card_asks(self) -> Iterator[Ask]:
        system = _prompt("card.txt")
        for card in self._game.deck.cards:
            missing = tuple(one for one in card.poems if one.id not in self._game.sentences.wordings)
            if not missing:
                continue
            lines = [f"現実:{card.category}、{card.condition_text}", f"伏せる語:{'、'.join(giveaway_terms(card))}"]
            lines += [f"言い換え {one.id}:{one.poem_text}" for one in missing]
            key = digest_of(["card", self._game.deck.digest, system, card.id, [one.id for one in missing]])[:32]
            self._cards[key] = (card, missing)
            yield Ask(key, system, "\n".join(lines), _card_schema(missing), int(key[:7], 16))

    def _title_asks(self) -> Iterator[Ask]:
        system = _prompt("titles.txt")
        missing = [title for title in self._game.deck.catchphrases if title not in self._game.sentences.titles]
        for start in range(0, len(missing), TITLES_AT_ONCE):
            some = tuple(missing[start : start + TITLES_AT_ONCE])
            key = digest_of(["titles", self._game.deck.digest, system, some])[:32]
            self._titles[key] = some
            user = "題\n" + "\n".join(f"{n}. {title}" for n, title in enumerate(some, 1))
            yield Ask(key, system, user, _titles_schema(some), int(key[:7], 16))

    def _parse(self, ask: Ask, text: str) -> Written:
        try:
            content = json.loads(text)
            return _card(content) if ask.key in self._cards else _titles(content)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise AnswerError(f"malformed: {error!r}; the answer is one JSON object of the shape asked for") from error

    def _wrong(self, ask: Ask, written: Written) -> Iterator[str]:
        if ask.key in self._cards:
            yield from _wrong_card(written, *self._cards[ask.key])
        else:
            yield from _wrong_titles(written, self._titles[ask.key])
        seen: set[str] = set()
        for text in written.texts():
            if text in seen:
                yield f"「{text}」: stands twice in the answer"
            seen.add(text)
            yield from (f"「{text}」: {one}" for one in sentence_violations(text))
            for name, likeness in self._near.like(text):
                if self._owners[name] != ask.key:
                    yield f"「{text}」: nearly the same as 「{name}」 ({likeness:.0%}); write another picture"

    def _remember(self, owner: str, text: str) -> None:
        self._owners.setdefault(text, owner)
        self._near.add(text, text)


def expected_words(asks: Sequence[Ask], spec: Teaching, price: Price, *, batch: bool = False) -> Usage:
    """The tokens that all the questions will take; a prompt that the teacher keeps is kept while it is asked with."""
    alike, kept_s = Counter(ask.system for ask in asks), spec.kept_s(batch=batch)
    each = [
        expected(ask, CHARACTERS, price, kept_s and max(kept_s / alike[ask.system], 60 / spec.per_minute))
        for ask in asks
    ]
    return Usage(
        prompt=sum(one.prompt for one in each),
        cached=sum(one.cached for one in each),
        output=sum(one.output for one in each),
        stored=sum(one.stored for one in each),
    )


def _wrong_card(written: Written, card: Card, wordings: Sequence[Wording]) -> Iterator[str]:
    if written.wordings.keys() != {one.id for one in wordings}:
        yield f"wordings: must be {', '.join(one.id for one in wordings)}, each once"
    known = store().values
    for key, values in written.values.items():
        if not 1 <= len(values) <= 2 or not set(values) <= known.keys():
            yield f"{key}: values: one or two of {'、'.join(known)}"
    hidden = [*giveaway_terms(card), *(w.poem_text.rstrip("。") for w in card.poems if len(w.poem_text) >= PHRASE)]
    for key, threads in written.wordings.items():
        if threads.keys() != set(THREADS) or any(len(some) != 1 for some in threads.values()):
            yield f"{key}: sentences: one for each of {', '.join(THREADS)}"
        for some in threads.values():
            for one in some:
                if one["at"] not in STATIONS:
                    yield f"{key}: at: from {STATIONS[0]} to {STATIONS[-1]}, got {one['at']}"
                yield from _wrong_text(one["text"], _BODY, 1)
                yield from (f"「{one['text']}」: gives away or copies {term}" for term in hidden if term in one["text"])


def _wrong_titles(written: Written, titles: Sequence[str]) -> Iterator[str]:
    if written.titles.keys() != set(titles):
        yield "titles: must be those that were given, word for word, each once"
    for title, entry in written.titles.items():
        if entry["thread"] not in THREADS:
            yield f"{title}: thread: one of {', '.join(THREADS)}"
        if len(entry["frames"]) < FRAMES:
            yield f"{title}: frames: {FRAMES} of them"
        for frame in entry["frames"]:
            yield from _wrong_frame(frame, title)


def _wrong_frame(frame: Sequence[str], title: str) -> Iterator[str]:
    if len(frame) != len(_LINES):
        yield f"{title}: frames: an opening, two turns and a closing, got {len(frame)} lines"
    for text, length in zip(frame, _LINES, strict=False):
        yield from _wrong_text(text, length, 2 if text is frame[-1] else 1)
    if (together := sum(map(len, frame))) not in _FRAME:
        yield f"「{frame[0]}」: its four lines have {together} characters, not {_FRAME.start} to {_FRAME.stop - 1}"
    yield from (f"「{text}」: copies the title" for text in frame if title.rstrip("。") in text)


def _wrong_text(text: str, length: range, sentences: int) -> Iterator[str]:
    if len(text) not in length:
        yield f"「{text}」: {len(text)} characters, not {length.start} to {length.stop - 1}"
    if not text.endswith("。") or not 1 <= text.count("。") <= sentences:
        yield f"「{text}」: must end with 「。」 and be {'one sentence' if sentences == 1 else 'one or two sentences'}"


def _card(content: Mapping[str, Any]) -> Written:
    written = Written()
    for entry in content["wordings"]:
        threads: dict[str, list[dict[str, Any]]] = {}
        for one in entry["sentences"]:
            threads.setdefault(str(one["thread"]), []).append({"at": int(one["at"]), "text": str(one["text"])})
        written.wordings[str(entry["id"])] = threads
        written.values[str(entry["id"])] = [str(value) for value in entry["values"]]
    return written


def _titles(content: Mapping[str, Any]) -> Written:
    written = Written()
    for entry in content["titles"]:
        frames = [[str(text) for text in frame] for frame in entry["frames"]]
        written.titles[str(entry["title"])] = {"thread": str(entry["thread"]), "frames": frames}
    return written


def _prompt(name: str) -> str:
    """The fixed prompt, the four threads with their stations and the values filled in."""
    lines = []
    for key in THREADS:
        thread = store().threads[key]
        told = "、".join(f"{n} {station}" for n, station in enumerate(thread.stations))
        lines.append(f"  {key}({thread.name}):{told}")
    text = (PROMPTS / name).read_text("utf-8").rstrip("\n")
    return text.format(threads="\n".join(lines), values="、".join(store().values))


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _card_schema(wordings: Sequence[Wording]) -> dict[str, Any]:
    thread = {"type": "string", "enum": list(THREADS)}
    at = {"type": "integer", "minimum": STATIONS[0], "maximum": STATIONS[-1]}
    value = {"type": "string", "enum": list(store().values)}
    sentence = _object(thread=thread, at=at, text={"type": "string"})
    wording = _object(
        id={"type": "string", "enum": [one.id for one in wordings]},
        values={"type": "array", "items": value, "minItems": 1, "maxItems": 2},
        sentences={"type": "array", "items": sentence, "minItems": len(THREADS), "maxItems": len(THREADS)},
    )
    return _object(wordings={"type": "array", "items": wording, "minItems": len(wordings), "maxItems": len(wordings)})


def _titles_schema(titles: Sequence[str]) -> dict[str, Any]:
    frame = {"type": "array", "items": {"type": "string"}, "minItems": len(_LINES), "maxItems": len(_LINES)}
    title = _object(
        title={"type": "string", "enum": list(titles)},
        thread={"type": "string", "enum": list(THREADS)},
        frames={"type": "array", "items": frame, "minItems": FRAMES, "maxItems": FRAMES + 1},
    )
    return _object(titles={"type": "array", "items": title, "minItems": len(titles), "maxItems": len(titles)})
