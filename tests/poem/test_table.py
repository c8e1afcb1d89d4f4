"""The table: what goes in comes out, what does not belong is named."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice, product, repeat
from pathlib import Path
from random import Random

import pytest

import poem
from poem.composer import compose
from poem.deck import Card, Deck
from poem.errors import TableError
from poem.game import builtin_game
from poem.hand import Answer, Hand, Pair, deal, draw_candidates
from poem.pattern import pattern_key
from poem.table import SAME_CARDS_MAX, Entry, Table, export_table, import_entries, write_table

GAME = builtin_game()
DECK = GAME.deck


def entry(seed: int) -> Entry:
    hand = deal(DECK, Random(seed))
    return Entry(hand, compose(GAME, hand, draw_candidates(DECK, Random(seed)), seed).answer, "composed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_table(tmp_path / "table.sqlite3", map(entry, range(20)), DECK)
    return tmp_path / "table.sqlite3"


@pytest.fixture
def table(path: Path) -> Iterator[Table]:
    table = Table.open(path)
    yield table
    table.close()


def other_wordings(hand: Hand) -> Hand:
    return Hand(tuple(Pair(p.card, next(w for w in p.card.poems if w != p.wording)) for p in hand.pairs))


def test_every_entry_is_found_by_its_hand_in_any_order(table: Table) -> None:
    assert len(table) == 20
    for seed in range(20):
        found = entry(seed)
        assert next(table.find(found.hand)) == found.answer
        assert next(table.find(Hand(found.hand.pairs[::-1]))) == found.answer


def test_other_wordings_of_the_same_cards_are_found_as_such(table: Table) -> None:
    found = entry(3)
    hand = other_wordings(found.hand)
    assert list(table.find(hand)) == [found.answer]


def test_the_nearest_wordings_answer_first(tmp_path: Path) -> None:
    cards = [pair.card for pair in entry(3).hand.pairs]
    hands = [Hand(tuple(Pair(card, card.poems[place]) for card in cards)) for place in range(3)]
    answers = [compose(GAME, hand, draw_candidates(DECK, Random(n)), n).answer for n, hand in enumerate(hands)]
    write_table(tmp_path / "t", [Entry(h, a, "hand") for h, a in zip(hands, answers, strict=True)], DECK)
    table = Table.open(tmp_path / "t")
    mixed = Hand((*hands[0].pairs[:1], *hands[1].pairs[1:3], *hands[2].pairs[3:]))
    nearest = Hand((*hands[0].pairs[:1], *hands[1].pairs[1:4], *hands[2].pairs[4:]))
    assert next(table.find(nearest)) == answers[1]
    assert list(table.find(mixed))[-1] == answers[0]
    table.close()


def test_the_very_hand_answers_first_however_many_have_its_cards(tmp_path: Path) -> None:
    cards = [pair.card for pair in entry(3).hand.pairs]
    picks = islice(product(*(card.poems for card in cards)), SAME_CARDS_MAX + 6)
    hands = [Hand(tuple(map(Pair, cards, wordings))) for wordings in picks]
    answers = [compose(GAME, hand, draw_candidates(DECK, Random(n)), n).answer for n, hand in enumerate(hands)]
    write_table(tmp_path / "t", map(Entry, hands, answers, repeat("composed")), DECK)
    table = Table.open(tmp_path / "t")
    assert [next(table.find(hand)) for hand in hands] == answers
    table.close()


def test_a_poem_that_another_wording_would_spoil_is_refused(path: Path) -> None:
    found = entry(5)
    other = next(w for w in found.hand.pairs[0].card.poems if w != found.hand.pairs[0].wording)
    spoilt = found.answer.poem[:-1][: -len(other.poem_text) - 1] + other.poem_text.rstrip("。") + "。"
    with pytest.raises(TableError, match="copied"):
        write_table(path, [replace(found, answer=replace(found.answer, poem=spoilt))], DECK)


def test_the_poems_by_hand_are_a_table_in_memory() -> None:
    table = Table.of_game(GAME)
    assert table is not None
    assert len(table) == len(GAME.poems)
    assert next(table.find(GAME.poems[0].hand)) == GAME.poems[0].answer


@pytest.mark.parametrize("pairs", ["null", "[", "5", '[["a"]]', '[[["a"], "b"]]', b"\xff"])
def test_a_row_that_holds_no_hand_is_left_out_and_named_where_every_entry_counts(path: Path, pairs: object) -> None:
    broken, whole = entry(3).hand, entry(4).hand
    key = pattern_key(broken)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE poems SET pairs = ? WHERE pattern_id = ?", (pairs, key))
    with closing(Table.open(path)) as table:
        assert list(table.find(broken)) == []
        assert list(table.find(whole)) == [entry(4).answer]
        found = list(table.card_ids())
        assert (len(found), found.count(None)) == (20, 1)
        assert tuple(sorted(pair.card.id for pair in whole.pairs)) in found
        with pytest.raises(TableError, match=f"{key[:12]}: pairs: .*; build or import the table again"):
            list(table.entries(DECK))


def test_another_hand_is_not_found(table: Table) -> None:
    hand = deal(DECK, Random(999))
    assert list(table.find(hand)) == []


def test_a_card_that_changed_since_is_named_and_not_served(table: Table) -> None:
    hand = entry(0).hand
    old = hand.pairs[0].card
    new = replace(old, condition_text=old.condition_text + "東口")
    deck = Deck(tuple(new if card is old else card for card in DECK.cards), DECK.catchphrases)
    assert table.stale_cards(DECK) == ()
    assert table.stale_cards(deck) == (old.id,)
    changed = Hand((Pair(new, hand.pairs[0].wording), *hand.pairs[1:]))
    assert list(table.find(changed)) == []


def test_export_and_import_give_the_same_table(table: Table, tmp_path: Path) -> None:
    exported = tmp_path / "precomputed_poems.json"
    assert export_table(table, DECK, exported) == 20
    assert set(json.loads(exported.read_text("utf-8"))[0]) == {"pattern_id", "pairs", "title", "poem", "source"}
    assert write_table(tmp_path / "again.sqlite3", import_entries(exported, DECK), DECK) == 20
    again = Table.open(tmp_path / "again.sqlite3")
    assert list(again.entries(DECK)) == list(table.entries(DECK))
    again.close()


def test_a_hand_twice_is_refused_and_the_old_table_stays(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TableError, match="a hand comes twice"):
        write_table(path, [entry(1), entry(1)], DECK)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_entry_that_breaks_a_rule_is_refused(path: Path) -> None:
    bad = replace(entry(30), answer=Answer("知らない題", "短い。"))
    with pytest.raises(TableError, match=r"entry [0-9a-f]{12}: paragraphs: .*every entry must keep the rules"):
        write_table(path, [bad], DECK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("title"), "entry 1: title must be a string"),
        (lambda e: e.update(extra=1), "entry 1: unknown key 'extra'"),
        (lambda e: e.update(pattern_id="0" * 64), "entry 1: pattern_id is not that of its pairs"),
        (lambda e: e.update(pairs=e["pairs"][:4]), "entry 1: pairs: "),
        (lambda e: e.update(pairs=3), "entry 1: pairs: "),
        (lambda e: e["pairs"][0].__setitem__(0, "no-such-card"), "entry 1: pairs: card 'no-such-card'"),
    ],
)
def test_an_import_names_the_entry_and_the_field(change: object, message: str, tmp_path: Path) -> None:
    found = entry(1).as_json()
    change(found)  # type: ignore[operator]
    path = tmp_path / "in.json"
    path.write_text(json.dumps([found]), "utf-8")
    with pytest.raises(TableError, match=message):
        list(import_entries(path, DECK))


def test_an_import_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text("[" * 100_000, "utf-8")
    with pytest.raises(TableError, match="the file must be JSON"):
        list(import_entries(path, DECK))


def test_an_export_that_fails_is_named_and_leaves_nothing(table: Table, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "a_folder.json").mkdir(parents=True)
    with pytest.raises(TableError, match=r"a_folder\.json: .*; free some space or give another path"):
        export_table(table, DECK, folder / "a_folder.json")
    assert [p.name for p in folder.iterdir()] == ["a_folder.json"]


@pytest.mark.parametrize("name", ["nowhere/table", "file/table"])
def test_a_place_that_cannot_be_written_is_named(table: Table, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TableError, match=r"table: .*; free some space or give another path"):
        export_table(table, DECK, tmp_path / name)
    with pytest.raises(TableError, match=r"table: .*; free some space or give another path"):
        write_table(tmp_path / name, [], DECK)


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be one" * 99, b""])
def test_a_file_that_is_no_table_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.sqlite3"
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"table\.sqlite3"):
        Table.open(path)


def test_a_table_of_another_version_is_refused(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(TableError, match="table version 9, not 1"):
        Table.open(path)


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 77
exec "$2" -c "from pathlib import Path; from poem.table import Table; print(len(Table.open(Path('$1/table.sqlite3'))))"
"""


@pytest.mark.parametrize("left", ["nothing", "changes"])
def test_a_table_in_wal_mode_is_read_where_nothing_may_be_written(path: Path, left: str) -> None:
    """Seen with a table that somebody's viewer had opened, in a folder that a container mounts read-only."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA user_version=1")
    if left == "changes":
        path.with_name("table.sqlite3-wal").write_bytes(b"not merged yet")
    env = os.environ | {"PYTHONPATH": str(Path(poem.__file__).parents[1])}
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", READ_ONLY, "sh", str(path.parent), sys.executable]
    if shutil.which("unshare") is None:
        pytest.skip("no `unshare` here")
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this user may mount nothing")
    if left == "nothing":
        assert (done.stdout, done.stderr) == ("20\n", "")
    else:
        assert "table.sqlite3-wal beside it holds changes" in done.stderr


def test_a_card_of_another_deck_with_a_known_id_is_not_ours(table: Table) -> None:
    hand = entry(2).hand
    theirs = Card(hand.pairs[0].card.id, "交通", "船着場", 0, (hand.pairs[0].wording,))
    assert list(table.find(Hand((Pair(theirs, hand.pairs[0].wording), *hand.pairs[1:])))) == []
