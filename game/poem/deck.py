"""A game's two files, parsed JSON → a checked, immutable `Deck`.

Real files are taken as they are: unknown keys, catch-copies that come twice and such as no prompt can carry are left
out with a warning. Refused is only what no hand could be dealt from.
"""

import hashlib
import json
import re
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from poem.errors import DeckError

STRENGTHS = range(-6, 6)
CATEGORIES = 5
"""As many different ones a hand has, so a deck needs them."""
CANDIDATES = 20
"""How many catch-copies a player's poem may be titled with."""

ID_MAX, TEXT_MAX, WORDINGS_MAX = 200, 400, 100
"""Characters of an id and of any other text, and wordings of a card, that a deck and a request may have."""

_KANJI_RUN = re.compile(r"[一-鿿々〆]{2,}")
_KATAKANA_RUN = re.compile(r"[ァ-ヶー]{3,}")
# A line break of any kind or a control character bends the prompt's lines; a lone surrogate is no UTF-8.
_NOT_IN_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CARD_KEYS = frozenset({"id", "category", "condition_text", "strength", "poems"})
_WORDING_KEYS = frozenset({"id", "poem_text"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wording:
    """A poetic wording of a card: what the player picks."""

    id: str
    poem_text: str

    def as_json(self) -> dict[str, str]:
        """The wording in the game's own shape."""
        return {"id": self.id, "poem_text": self.poem_text}


@dataclass(frozen=True, slots=True)
class Card:
    """A reality card. `strength` runs from -6 (a serious drawback) to +5 (a real merit).

    `terms` are what would tell a reader which reality the card is; a card without any has them from its own text.
    `sent_bytes` is what the card takes in a request, with the largest of its wordings picked: all that its file says
    of it, keys that the game does not have among them, escaped and indented.
    """

    id: str
    category: str
    condition_text: str
    strength: int
    poems: tuple[Wording, ...]
    terms: tuple[str, ...] = field(default=(), compare=False)
    sent_bytes: int = field(default=0, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The card in the game's own shape."""
        return {
            "id": self.id,
            "category": self.category,
            "condition_text": self.condition_text,
            "strength": self.strength,
            "poems": [wording.as_json() for wording in self.poems],
        }


@dataclass(frozen=True)
class Deck:
    """Cards in file order and catch-copies; ids are unique within their kind."""

    cards: tuple[Card, ...]
    catchphrases: tuple[str, ...]

    @cached_property
    def by_id(self) -> Mapping[str, Card]:
        """The cards by their ids."""
        return {card.id: card for card in self.cards}

    @cached_property
    def wording_ids(self) -> frozenset[str]:
        """The ids of all wordings."""
        return frozenset(wording.id for card in self.cards for wording in card.poems)

    @cached_property
    def categories(self) -> Mapping[str, tuple[Card, ...]]:
        """Cards by category, in the order in which the categories first appear."""
        found: dict[str, list[Card]] = {}
        for card in self.cards:
            found.setdefault(card.category, []).append(card)
        return {name: tuple(cards) for name, cards in found.items()}

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex of all cards and catch-copies, however their files were written."""
        content = [[card.as_json() for card in self.cards], list(self.catchphrases)]
        text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def giveaway_terms(card: Card) -> tuple[str, ...]:
    """The terms that would tell a reader which drawback this card is.

    They are the card's own list; where there is none, its `condition_text` and the runs of two or more kanji or
    three or more katakana in it.
    """
    if card.terms:
        return card.terms
    runs = _KANJI_RUN.findall(card.condition_text) + _KATAKANA_RUN.findall(card.condition_text)
    return tuple(dict.fromkeys([card.condition_text, *runs]))


class Banned:
    """Texts that must not occur, and whether one does.

    A stranger's cards bring hundreds of terms. By their first two characters those are found that need a look.
    """

    _FEW = 200
    """So many are looked for one by one: that is faster."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)
        self._by_head: dict[str, list[str]] = {}
        if len(self._texts) > self._FEW:
            for text in self._texts:
                self._by_head.setdefault(text[:2], []).append(text)
        self._heads = frozenset(self._by_head)

    def within(self, text: str) -> bool:
        """Whether any of them occurs in the text."""
        if not self._by_head:
            return any(banned in text for banned in self._texts)
        heads = {*text, *map(str.__add__, text, text[1:])}.intersection(self._heads)
        return any(banned in text for head in heads for banned in self._by_head[head])


def parse_cards(content: Any, file: str, warnings: list[str]) -> tuple[Card, ...]:
    """The cards of a parsed `cards.json`; `file` is what messages call it.

    Raises `DeckError` for what no hand can be dealt from; what is left out is added to `warnings`.
    """
    if not isinstance(content, list):
        raise DeckError(f"{file}: must be a JSON list of cards")
    unknown: Counter[str] = Counter()
    cards = tuple(_card(entry, f"{file}: card {n}", unknown) for n, entry in enumerate(content, 1))
    _unique([card.id for card in cards], file, "card id")
    _unique([w.id for card in cards for w in card.poems], file, "wording id")
    if (count := len({card.category for card in cards})) < CATEGORIES:
        raise DeckError(f"{file}: a hand needs cards of {CATEGORIES} different categories, got {count}; add categories")
    if unknown:
        told = ", ".join(sorted(unknown))
        warnings.append(f"{file}: keys that the game does not have are ignored: {told} ({unknown.total()} times)")
    return cards


def parse_catchphrases(content: Any, file: str, warnings: list[str]) -> tuple[str, ...]:
    """The catch-copies of a parsed `catchphrases.json`, each once, in NFC and otherwise as they were given."""
    if not isinstance(content, list):
        raise DeckError(f"{file}: must be a JSON list of strings")
    usable: dict[str, None] = {}
    twice = 0
    for n, entry in enumerate(content, 1):
        if not isinstance(entry, str) or not entry.strip() or _NOT_IN_LINE.search(entry) or len(entry) > TEXT_MAX:
            told = reprlib.repr(entry)
            warnings.append(f"{file}: entry {n} is left out: {told} is no line of 1 to {TEXT_MAX} characters")
            continue
        phrase = unicodedata.normalize("NFC", entry)
        twice += phrase in usable
        usable[phrase] = None
    if twice:
        warnings.append(f"{file}: catch-copies that come twice count once ({twice} times)")
    if len(usable) < CANDIDATES:
        raise DeckError(f"{file}: {len(usable)} usable catch-copies, {CANDIDATES} are needed; add some")
    return tuple(usable)


def one_line(text: str) -> str:
    """The text as a deck holds it: in NFC on one line; white space of any kind is one blank there."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def with_terms(cards: Iterable[Card], terms: Mapping[str, Sequence[str]]) -> tuple[Card, ...]:
    """The cards with their own giveaway terms, by card id."""
    return tuple(replace(card, terms=tuple(terms.get(card.id, ()))) for card in cards)


def known_only(
    file: str, entries: Mapping[str, T], known: Set[str], warnings: list[str], what: str = "ids"
) -> dict[str, T]:
    """The entries for what the deck has; of the others one line is added to `warnings`."""
    if strange := sorted(entries.keys() - known):
        warnings.append(f"{file}: {what} that the deck does not have are left out: {', '.join(strange)}")
    return {key: entry for key, entry in entries.items() if key in known}


def _card(entry: Any, where: str, unknown: Counter[str]) -> Card:
    if not isinstance(entry, dict):
        raise DeckError(f"{where}: must be a JSON object")
    unknown.update(map(str, entry.keys() - _CARD_KEYS))
    card_id = _text(entry, "id", where)
    where = f"{where} ({card_id})"
    strength = entry.get("strength")
    if not isinstance(strength, int) or isinstance(strength, bool) or strength not in STRENGTHS:
        raise DeckError(f"{where}: strength must be a whole number from -6 to 5, got {reprlib.repr(strength)}")
    wordings = tuple(_wordings(entry.get("poems"), where, unknown))
    category, condition_text = _text(entry, "category", where), _text(entry, "condition_text", where)
    return Card(card_id, category, condition_text, strength, wordings, sent_bytes=_sent_bytes(entry))


def _wordings(poems: Any, where: str, unknown: Counter[str]) -> Iterator[Wording]:
    if not isinstance(poems, list) or not poems:
        raise DeckError(f"{where}: poems must hold at least one wording; add one")
    if len(poems) > WORDINGS_MAX:
        raise DeckError(f"{where}: poems holds {len(poems)} wordings, {WORDINGS_MAX} are allowed; remove some")
    for n, poem in enumerate(poems, 1):
        place = f"{where}: poems {n}"
        if not isinstance(poem, dict):
            raise DeckError(f"{place}: must be a JSON object with id and poem_text")
        unknown.update(map(str, poem.keys() - _WORDING_KEYS))
        yield Wording(_text(poem, "id", place), _text(poem, "poem_text", place))


def _sent_bytes(entry: Mapping[str, Any]) -> int:
    largest = max(entry["poems"], key=lambda poem: len(json.dumps(poem)))
    return len(json.dumps({"conditionCard": entry, "selectedPoem": largest}, indent=8))


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not (line := one_line(value)):
        raise DeckError(f"{where}: {key} must be a non-empty string, got {reprlib.repr(value)}")
    if bad := _NOT_IN_LINE.search(line):
        raise DeckError(f"{where}: {key} holds {bad.group()!r}, which a line of text cannot carry; remove it")
    allowed = ID_MAX if key == "id" else TEXT_MAX
    if len(value) > allowed:  # as a request is measured, which sends it as it stands here
        raise DeckError(f"{where}: {key} has {len(value)} characters, {allowed} are allowed; shorten it")
    return line


def _unique(values: Sequence[str], file: str, what: str) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise DeckError(f"{file}: {what} {value!r} is there {count} times; every {what} must differ")
