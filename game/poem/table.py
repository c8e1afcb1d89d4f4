"""Poems written beforehand ⇄ a SQLite file: built or imported once, then looked up by hand.

A hand is found by its pattern key, or by its five cards alone when the wordings differ. Each card's digest
stands in the file, so an entry for a card that has changed since is not found, and `stale_cards` names it.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from poem.deck import Card, Deck
from poem.errors import GameError, HandError, TableError
from poem.files import read_json
from poem.game import Game
from poem.hand import Answer, Hand, hand_of
from poem.pattern import pattern_key
from poem.rules import check

VERSION = 1
BY_HAND = "hand"
"""The source of a poem that was written by hand."""
SAME_CARDS_MAX = 64
"""As many are looked at, that of the very hand always among them; those with the most of its wordings come first."""

_SCHEMA = """
CREATE TABLE poems (
    pattern_id TEXT PRIMARY KEY,
    cards_id BLOB NOT NULL,
    pairs TEXT NOT NULL,
    title TEXT NOT NULL,
    poem TEXT NOT NULL,
    source TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX poems_by_cards ON poems (cards_id);
CREATE TABLE cards (id TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A hand's poem and who wrote it."""

    hand: Hand
    answer: Answer
    source: str

    def as_json(self) -> dict[str, Any]:
        """The entry as it stands in precomputed_poems.json."""
        return {
            "pattern_id": pattern_key(self.hand),
            "pairs": [list(ids) for ids in sorted(self.hand.ids())],
            "title": self.answer.title,
            "poem": self.answer.poem,
            "source": self.source,
        }


class Table:
    """A table, open for looking up."""

    def __init__(self, db: sqlite3.Connection, digests: dict[str, str], count: int) -> None:
        self._db, self._digests, self._count = db, digests, count

    @classmethod
    def open(cls, path: Path) -> "Table":
        """The table in a file. Raises `TableError` if that is none."""
        try:
            with ExitStack() as on_error:
                db = _connect(path)
                on_error.callback(db.close)
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version != VERSION:
                    raise TableError(f"{path}: table version {version}, not {VERSION}; build it again")
                found = cls._read(db)
                on_error.pop_all()
                return found
        except sqlite3.Error as error:
            raise TableError(f"{path}: {error}; build or import the table again") from error

    @classmethod
    def of_game(cls, game: Game) -> "Table | None":
        """The poems that were written by hand for the game, in memory; None if there are none."""
        if not game.poems:
            return None
        db = sqlite3.connect(":memory:", check_same_thread=False)
        _fill(db, (Entry(one.hand, one.answer, BY_HAND) for one in game.poems), game.deck)
        return cls._read(db)

    @classmethod
    def _read(cls, db: sqlite3.Connection) -> "Table":
        digests = dict(db.execute("SELECT id, digest FROM cards"))
        return cls(db, digests, int(db.execute("SELECT count(*) FROM poems").fetchone()[0]))

    def __len__(self) -> int:
        return self._count

    def find(self, hand: Hand, *, by_hand: bool = False) -> Iterator[Answer]:
        """Poems of the hand's five cards: that of the very hand first, then those with the most of its wordings.

        All that there are, or those written by hand alone.
        """
        if not all(self._digests.get(pair.card.id) == card_digest(pair.card) for pair in hand.pairs):
            return
        only = f" AND source = '{BY_HAND}'" if by_hand else ""
        query = (
            f"SELECT pairs, title, poem FROM poems WHERE cards_id = ?{only} "
            f"ORDER BY pattern_id <> ? LIMIT {SAME_CARDS_MAX}"
        )
        rows = self._db.execute(query, (_cards_id(hand), pattern_key(hand))).fetchall()
        picked = {wording for _, wording in hand.ids()}
        found = [(ids, Answer(title, poem)) for pairs, title, poem in rows if (ids := _ids(pairs)) is not None]
        found.sort(key=lambda one: -sum(wording in picked for _, wording in one[0]))
        yield from (answer for _, answer in found)

    def stale_cards(self, deck: Deck) -> tuple[str, ...]:
        """Ids of cards that the table was made with and that the deck no longer has so."""
        now = {card.id: card_digest(card) for card in deck.cards}
        return tuple(sorted(card_id for card_id, digest in self._digests.items() if now.get(card_id) != digest))

    def card_ids(self) -> Iterator[tuple[str, ...] | None]:
        """The ids of each row's cards, sorted; None for a row that holds no hand."""
        for (pairs,) in self._db.execute("SELECT pairs FROM poems"):
            ids = _ids(pairs)
            yield None if ids is None else tuple(sorted(card for card, _ in ids))

    def entries(self, deck: Deck) -> Iterator[Entry]:
        """Every entry whose cards the deck still has, in the order of the pattern keys.

        Raises `TableError` for a row that holds no hand.
        """
        for key, pairs, title, poem, source in self._db.execute(
            "SELECT pattern_id, pairs, title, poem, source FROM poems ORDER BY pattern_id"
        ):
            if (ids := _ids(pairs)) is None:
                told = f"row {key[:12]}: pairs: {pairs!r} is no list of pairs; build or import the table again"
                raise TableError(told)
            try:
                hand = hand_of(deck, ids)
            except HandError:
                continue
            yield Entry(hand, Answer(title, poem), source)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _connect(path: Path) -> sqlite3.Connection:
    """The file for reading. One in WAL mode wants files beside it even so; where none can be made, it does without."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    db = sqlite3.connect(uri, uri=True, check_same_thread=False)
    try:
        db.execute("PRAGMA user_version")  # the first look into it
        return db
    except sqlite3.OperationalError as error:
        db.close()
        wal = path.with_name(f"{path.name}-wal")
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN or not path.is_file():
            raise
        if wal.exists() and wal.stat().st_size:
            raise TableError(
                f"{path}: {wal.name} beside it holds changes and cannot be read where nothing may be written; "
                f"run `sqlite3 {path.name} 'PRAGMA journal_mode = DELETE'` where the folder can be written"
            ) from error
    return sqlite3.connect(f"{uri}&immutable=1", uri=True, check_same_thread=False)


def write_table(path: Path, entries: Iterable[Entry], deck: Deck) -> int:
    """Make a table file of the entries, all or nothing; how many there are.

    Raises `TableError` for an entry that breaks a rule or comes twice. An existing file is replaced only
    when the new one is whole, and a service that has it open keeps reading the old one.
    """
    with _replaced_when_whole(path) as part, closing(sqlite3.connect(part)) as db, db:
        try:
            return _fill(db, entries, deck)
        except sqlite3.IntegrityError as error:
            raise TableError(f"{path}: a hand comes twice ({error}); every hand may have one poem") from error


def _fill(db: sqlite3.Connection, entries: Iterable[Entry], deck: Deck) -> int:
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.executemany("INSERT INTO poems VALUES (?, ?, ?, ?, ?, ?)", _rows(entries, deck))
    db.executemany("INSERT INTO cards VALUES (?, ?)", [(c.id, card_digest(c)) for c in deck.cards])
    return int(db.execute("SELECT count(*) FROM poems").fetchone()[0])


def export_table(table: Table, deck: Deck, path: Path) -> int:
    """Write precomputed_poems.json, all or nothing; how many entries it has. Raises `TableError`."""
    entries = [entry.as_json() for entry in table.entries(deck)]
    with _replaced_when_whole(path) as part:
        part.write_text(json.dumps(entries, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return len(entries)


@contextmanager
def _replaced_when_whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it takes that one's place at the end and goes away on any error."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        yield part
        part.replace(path)
    except (sqlite3.Error, OSError) as error:
        raise TableError(f"{path}: {error}; free some space or give another path") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def import_entries(path: Path, deck: Deck) -> Iterator[Entry]:
    """The entries of a precomputed_poems.json. Raises `TableError` naming the entry and the field."""
    try:
        found = read_json(path)
    except GameError as error:
        raise TableError(str(error)) from error
    if not isinstance(found, list):
        raise TableError(f"{path}: must be a JSON list of entries")
    for n, entry in enumerate(found, 1):
        yield _entry(entry, deck, f"{path}: entry {n}")


@lru_cache(maxsize=1024)
def card_digest(card: Card) -> str:
    """16 hex digits of the card's whole text: another text is another card."""
    text = json.dumps(card.as_json(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _rows(entries: Iterable[Entry], deck: Deck) -> Iterator[tuple[object, ...]]:
    titles = frozenset(deck.catchphrases)
    for entry in entries:
        broken = check(entry.answer, entry.hand, titles, any_wording=True)
        if broken:
            raise TableError(f"entry {pattern_key(entry.hand)[:12]}: {broken[0]}; every entry must keep the rules")
        fields = entry.as_json()
        pairs = json.dumps(fields["pairs"], ensure_ascii=False, separators=(",", ":"))
        yield fields["pattern_id"], _cards_id(entry.hand), pairs, fields["title"], fields["poem"], entry.source


def _ids(pairs: Any) -> list[tuple[str, str]] | None:
    """The card and wording ids of a row; None where it holds none."""
    try:
        ids = [(card, wording) for card, wording in json.loads(pairs)]
    except (TypeError, ValueError, RecursionError):
        return None
    return ids if all(isinstance(one, str) for pair in ids for one in pair) else None


def _cards_id(hand: Hand) -> bytes:
    return hashlib.sha256("\0".join(sorted(pair.card.id for pair in hand.pairs)).encode()).digest()[:16]


def _entry(found: Any, deck: Deck, where: str) -> Entry:
    if not isinstance(found, dict):
        raise TableError(f"{where}: must be a JSON object")
    fields = ("pattern_id", "pairs", "title", "poem", "source")
    if unknown := found.keys() - set(fields):
        raise TableError(f"{where}: unknown key {sorted(unknown)[0]!r}; remove it")
    for key in ("pattern_id", "title", "poem", "source"):
        if not isinstance(found.get(key), str):
            raise TableError(f"{where}: {key} must be a string, got {found.get(key)!r}")
    try:
        hand = hand_of(deck, [(str(card), str(wording)) for card, wording in found.get("pairs") or ()])
    except (HandError, TypeError, ValueError) as error:
        raise TableError(f"{where}: pairs: {error}; give five [card id, wording id] pairs of the deck") from error
    if found["pattern_id"] != pattern_key(hand):
        raise TableError(f"{where}: pattern_id is not that of its pairs; leave it to `poem-build table export`")
    return Entry(hand, Answer(found["title"], found["poem"]), found["source"])
