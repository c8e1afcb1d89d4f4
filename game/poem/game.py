"""A folder in the shape of anybody's game → a `Game`: the deck, and whatever was written for it.

`cards.json` and `catchphrases.json` in the game's own shape; optional beside them `system.txt` (the fixed
instructions), `terms.json` (what gives a card away), `values.json` (what a wording is worth), `poems.jsonl` (poems
written by hand) and `sentences/`. The built-in game is such a folder and is loaded by the same code.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from poem.deck import Card, Deck, known_only, parse_cards, parse_catchphrases, with_terms
from poem.errors import GameError, HandError
from poem.files import read_json, read_text, read_words
from poem.hand import Answer, Hand, hand_of
from poem.outline import Stages
from poem.pattern import pattern_key
from poem.prompt import default_instructions, prompt_version
from poem.rules import check
from poem.sentence_files import load_sentences
from poem.sentences import Sentences
from poem.store import known_values

CARDS, CATCHPHRASES = "cards.json", "catchphrases.json"
BUILT_IN = ""
"""The built-in game's name: names made from it leave it out."""
_NOT_IN_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class HandWritten:
    """A hand of the game's deck, the poem written for it, and whether it is held out of every training."""

    hand: Hand
    answer: Answer
    held_out: bool


@dataclass(frozen=True)
class Game:
    """A game as its folder tells it. `name` is the folder's, in lower case, of letters, digits and hyphens."""

    name: str
    deck: Deck
    instructions: str
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By wording id."""
    poems: tuple[HandWritten, ...] = ()
    sentences: Sentences = field(default_factory=Sentences)
    digest: str = ""
    """SHA-256 in hex over all that the folder says: whatever is made from the game may change with it."""
    warnings: tuple[str, ...] = ()
    """What of the files was left out, one line each."""

    @cached_property
    def prompt_version(self) -> str:
        """The version of the prompt that the game's instructions make."""
        return prompt_version(self.instructions)

    def prompt_in(self, stages: Stages) -> str:
        """The version of the prompt for a poem that is written in so many stages."""
        return prompt_version(self.instructions, stages)

    def owns(self, card: Card) -> bool:
        """Whether it is the deck's own card, word for word, so that what was written for that fits."""
        return self.deck.by_id.get(card.id) == card


@cache
def builtin_game() -> Game:
    """The game that the package carries: 89 cards in 9 categories, 267 wordings, 110 catch-copies."""
    return replace(load_game(Path(str(resources.files("poem") / "builtin")), tested=True), name=BUILT_IN)


def load_game(folder: Path, *, tested: bool = False) -> Game:
    """The game of a folder. Raises `GameError` naming the file, the entry and the remedy.

    Sentences of one that is `tested` are taken without a look at each.
    """
    if not folder.is_dir():
        raise GameError(f"{folder}: no such folder; give one that holds {CARDS} and {CATCHPHRASES}")
    warnings: list[str] = []
    cards = parse_cards(read_json(folder / CARDS), CARDS, warnings)
    phrases = parse_catchphrases(read_json(folder / CATCHPHRASES), CATCHPHRASES, warnings)
    terms = _texts_by_id(folder / "terms.json", {card.id for card in cards}, warnings)
    deck = Deck(with_terms(cards, terms), phrases)
    values = _known_values(_texts_by_id(folder / "values.json", deck.wording_ids, warnings), warnings)
    instructions = _instructions(folder / "system.txt")
    sentences = load_sentences(folder / "sentences", deck, warnings, tested=tested)
    poems = tuple(_poems(folder / "poems.jsonl", deck, warnings))
    by_hand = [[p.hand.ids(), p.answer.title, p.answer.poem, p.held_out] for p in poems]
    content = [deck.digest, terms, values, instructions, by_hand]
    written = {_spelt(path.relative_to(folder)): path for path in (folder / "sentences").rglob("*.json")}
    content += [[name, read_words(path)] for name, path in sorted(written.items())]
    return Game(
        name=_name(folder, deck),
        deck=deck,
        instructions=instructions,
        values=values,
        poems=poems,
        sentences=sentences,
        digest=_digest(content),
        warnings=tuple(warnings),
    )


def load_files(cards: Path | None = None, catchphrases: Path | None = None) -> Game:
    """A game of the two files alone; the one that is not named is the built-in game's.

    What was written for the built-in game's cards stays for those that stand in the files unchanged.
    """
    ours = builtin_game()
    if cards is None and catchphrases is None:
        return ours
    warnings: list[str] = []
    parsed = parse_cards(read_json(cards), cards.name, warnings) if cards else ours.deck.cards
    phrases = ours.deck.catchphrases
    if catchphrases:
        phrases = parse_catchphrases(read_json(catchphrases), catchphrases.name, warnings)
    kept = [card for card in parsed if ours.owns(card)]
    wordings = {wording.id for card in kept for wording in card.poems}
    known = {card.id for card in kept}
    deck = Deck(with_terms(parsed, {card.id: ours.deck.by_id[card.id].terms for card in kept}), phrases)
    sentences = Sentences(
        titles=ours.sentences.titles,
        wordings={key: found for key, found in ours.sentences.wordings.items() if key in wordings},
        fused={key: found for key, found in ours.sentences.fused.items() if key <= known},
    )
    named = cards or catchphrases
    assert named is not None  # one of the two is given
    return replace(
        ours,
        name=_name(named.absolute().parent, deck),
        deck=deck,
        values={key: value for key, value in ours.values.items() if key in wordings},
        poems=(),
        sentences=sentences,
        digest=_digest([deck.digest, ours.digest]),
        warnings=tuple(warnings),
    )


def _name(folder: Path, deck: Deck) -> str:
    name = unicodedata.normalize("NFKC", folder.resolve().name).lower()
    return _NOT_IN_NAME.sub("-", name).strip("-") or f"game-{deck.digest[:8]}"


def _spelt(path: Path) -> str:
    """One spelling for every machine: a Mac may have decomposed the letters, Windows has other separators."""
    return unicodedata.normalize("NFC", path.as_posix())


def _instructions(path: Path) -> str:
    text = read_text(path).replace("\r\n", "\n").strip("\n") if path.is_file() else default_instructions()
    if not text.strip():
        raise GameError(f"{path}: is empty; write the instructions, or remove the file for the usual ones")
    return unicodedata.normalize("NFC", text)


def _texts_by_id(path: Path, known: Set[str], warnings: list[str]) -> dict[str, tuple[str, ...]]:
    """`{id: [text, …]}` of ids that the deck has."""
    content = read_words(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise GameError(f"{path}: must be a JSON object of lists by id")
    for key, texts in content.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
            raise GameError(f"{path}: {key}: must be a list of non-empty strings")
    return {key: tuple(texts) for key, texts in known_only(path.name, content, known, warnings).items()}


def _known_values(values: Mapping[str, tuple[str, ...]], warnings: list[str]) -> dict[str, tuple[str, ...]]:
    known = known_values()
    strange = dict.fromkeys(value for some in values.values() for value in some if value not in known)
    if strange:
        told = "; ".join(f"{one} ({', '.join(key for key, some in values.items() if one in some)})" for one in strange)
        warnings.append(
            f"values.json: values that the composer does not know are left out: {told}; it knows {'、'.join(known)}"
        )
    return {key: tuple(value for value in some if value in known) for key, some in values.items()}


def _poems(path: Path, deck: Deck, warnings: list[str]) -> Iterator[HandWritten]:
    titles = frozenset(deck.catchphrases)
    seen: set[str] = set()
    lines = read_text(path).splitlines() if path.is_file() else []
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}: line {n}"
        try:
            entry: dict[str, Any] = json.loads(line)
            ids = [(str(card), str(wording)) for card, wording in entry["pairs"]]
            answer = Answer(str(entry["title"]), str(entry["poem"]))
            held_out = bool(entry.get("held_out", False))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise GameError(f"{where}: {error!r}; give one object of pairs, title, poem and held_out a line") from error
        try:
            hand = hand_of(deck, ids)
        except HandError as error:
            warnings.append(f"{path.name}: line {n} is left out: {error}")
            continue
        broken = check(answer, hand, titles, any_wording=True)
        if broken or (key := pattern_key(hand)) in seen:
            told = broken[0] if broken else "its hand has a poem already"
            warnings.append(f"{path.name}: line {n} is left out: {told}")
            continue
        seen.add(key)
        yield HandWritten(hand, answer, held_out)


def _digest(content: object) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
