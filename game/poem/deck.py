"""cards.json and catchphrases.json → a checked, immutable `Deck`."""

import json
import re
import reprlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from poem.errors import DeckError

STRENGTHS = range(-6, 6)
CANDIDATES = 20
"""How many catch-copies a player's poem may be titled with."""

ID_MAX, TEXT_MAX, WORDINGS_MAX = 200, 400, 100
"""Characters of an id and of any other text, and wordings of a card, that a deck and a request may have."""

_KANJI_RUN = re.compile(r"[一-鿿々〆]{2,}")
_KATAKANA_RUN = re.compile(r"[ァ-ヶー]{3,}")
# A line break of any kind or a control character bends the prompt's lines; a lone surrogate is no UTF-8.
_NOT_IN_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# A quote or a backslash breaks the output grammar, a character beyond the BMP is dropped by it.
_NOT_IN_GRAMMAR = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\U00010000-\U0010ffff]')


@dataclass(frozen=True, slots=True)
class Wording:
    """A poetic wording of a card: what the player picks."""

    id: str
    poem_text: str


@dataclass(frozen=True, slots=True)
class Card:
    """A reality card. `strength` runs from -6 (a serious drawback) to +5 (a real merit)."""

    id: str
    category: str
    condition_text: str
    strength: int
    poems: tuple[Wording, ...]

    def as_json(self) -> dict[str, Any]:
        """The card in the game's own shape."""
        return {
            "id": self.id,
            "category": self.category,
            "condition_text": self.condition_text,
            "strength": self.strength,
            "poems": [{"id": w.id, "poem_text": w.poem_text} for w in self.poems],
        }


@dataclass(frozen=True)
class Deck:
    """Cards in file order and catch-copies; ids are unique within their kind."""

    cards: tuple[Card, ...]
    catchphrases: tuple[str, ...]
    by_id: Mapping[str, Card] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {card.id: card for card in self.cards})

    def categories(self) -> dict[str, tuple[Card, ...]]:
        """Cards by category, in the order in which the categories first appear."""
        found: dict[str, list[Card]] = {}
        for card in self.cards:
            found.setdefault(card.category, []).append(card)
        return {name: tuple(cards) for name, cards in found.items()}


@cache
def builtin_deck() -> Deck:
    """The deck that the package carries: 89 cards in 9 categories, 110 catch-copies."""
    here = resources.files("poem") / "data"
    return _parse(
        json.loads((here / "cards.json").read_text("utf-8")),
        json.loads((here / "catchphrases.json").read_text("utf-8")),
        "cards.json",
        "catchphrases.json",
    )


def load_deck(cards: Path | None = None, catchphrases: Path | None = None) -> Deck:
    """A deck from files in the game's shape; a part that is not named is the built-in one.

    Raises `DeckError` naming the file, the entry and the remedy.
    """
    builtin = builtin_deck()
    return _parse(
        _read(cards) if cards else [card.as_json() for card in builtin.cards],
        _read(catchphrases) if catchphrases else list(builtin.catchphrases),
        cards.name if cards else "cards.json",
        catchphrases.name if catchphrases else "catchphrases.json",
    )


def giveaway_terms(card: Card) -> tuple[str, ...]:
    """The terms that would tell a reader which drawback this card is.

    A card of the built-in deck has its own list; of any other card they are its `condition_text` and
    the runs of two or more kanji or three or more katakana in it.
    """
    known = builtin_deck().by_id.get(card.id)
    if known is not None and known.condition_text == card.condition_text:
        return _builtin_terms()[card.id]
    runs = _KANJI_RUN.findall(card.condition_text) + _KATAKANA_RUN.findall(card.condition_text)
    return tuple(dict.fromkeys([card.condition_text, *runs]))


@cache
def _builtin_terms() -> dict[str, tuple[str, ...]]:
    text = (resources.files("poem") / "data" / "terms.json").read_text("utf-8")
    return {card_id: tuple(terms) for card_id, terms in json.loads(text).items()}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DeckError(f"{path}: {error.strerror or error}; give the path of a readable file") from error
    except UnicodeDecodeError as error:
        raise DeckError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DeckError(f"{path}: line {error.lineno}: {error.msg}; the file must be one JSON list") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
        raise DeckError(f"{path}: {error}; the file must be one JSON list") from error


def _parse(cards: Any, catchphrases: Any, cards_file: str, catchphrases_file: str) -> Deck:
    if not isinstance(cards, list) or len(cards) < 5:
        raise DeckError(f"{cards_file}: must be a JSON list of at least 5 cards")
    parsed = tuple(_card(entry, f"{cards_file}: card {n}") for n, entry in enumerate(cards, 1))
    _unique([card.id for card in parsed], cards_file, "card id")
    _unique([w.id for card in parsed for w in card.poems], cards_file, "wording id")
    if len({card.category for card in parsed}) < 5:
        raise DeckError(f"{cards_file}: a hand needs cards of 5 different categories; add categories")
    phrases = tuple(_catchphrases(catchphrases, catchphrases_file))
    _unique(phrases, catchphrases_file, "catch-copy")
    return Deck(parsed, phrases)


def _card(entry: Any, where: str) -> Card:
    if not isinstance(entry, dict):
        raise DeckError(f"{where}: must be a JSON object")
    unknown = entry.keys() - {"id", "category", "condition_text", "strength", "poems"}
    if unknown:
        raise DeckError(f"{where}: unknown key {sorted(unknown)[0]!r}; remove it")
    card_id = _text(entry, "id", where)
    where = f"{where} ({card_id})"
    strength = entry.get("strength")
    if not isinstance(strength, int) or isinstance(strength, bool) or strength not in STRENGTHS:
        raise DeckError(f"{where}: strength must be a whole number from -6 to 5, got {reprlib.repr(strength)}")
    poems = entry.get("poems")
    if not isinstance(poems, list) or not poems:
        raise DeckError(f"{where}: poems must hold at least one wording; add one")
    if len(poems) > WORDINGS_MAX:
        raise DeckError(f"{where}: poems holds {len(poems)} wordings, {WORDINGS_MAX} are allowed; remove some")
    wordings = []
    for n, poem in enumerate(poems, 1):
        place = f"{where}: poems {n}"
        if not isinstance(poem, dict):
            raise DeckError(f"{place}: must be a JSON object with id and poem_text")
        if unknown := poem.keys() - {"id", "poem_text"}:
            raise DeckError(f"{place}: unknown key {sorted(unknown)[0]!r}; remove it")
        wordings.append(Wording(_text(poem, "id", place), _text(poem, "poem_text", place)))
    return Card(
        card_id, _text(entry, "category", where), _text(entry, "condition_text", where), strength, tuple(wordings)
    )


def _catchphrases(entries: Any, file: str) -> Iterator[str]:
    if not isinstance(entries, list) or len(entries) < CANDIDATES:
        raise DeckError(f"{file}: must be a JSON list of at least {CANDIDATES} strings")
    for n, entry in enumerate(entries, 1):
        if not isinstance(entry, str) or not entry.strip():
            raise DeckError(f"{file}: entry {n} must be a non-empty string, got {reprlib.repr(entry)}")
        phrase = unicodedata.normalize("NFC", entry)
        if bad := _NOT_IN_GRAMMAR.search(phrase):
            raise DeckError(
                f"{file}: entry {n} {phrase!r}: the output grammar cannot carry {bad.group()!r}; replace it"
            )
        yield phrase


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DeckError(f"{where}: {key} must be a non-empty string, got {reprlib.repr(value)}")
    if bad := _NOT_IN_LINE.search(value):
        raise DeckError(f"{where}: {key} holds {bad.group()!r}, which a line of text cannot carry; remove it")
    allowed = ID_MAX if key == "id" else TEXT_MAX
    if len(value) > allowed:
        raise DeckError(f"{where}: {key} has {len(value)} characters, {allowed} are allowed; shorten it")
    return unicodedata.normalize("NFC", value)


def _unique(values: list[str] | tuple[str, ...], file: str, what: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise DeckError(f"{file}: {what} {value!r} is there twice; every {what} must differ")
        seen.add(value)
