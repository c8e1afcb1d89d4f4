import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from poem.game import builtin_game, load_game
from poem.hand import deal
from poem.pattern import pattern_key
from poem.rules import check
from poem.table import Table
from poem_build.cli.main import cli
from poem_build.data.table import build_for_stand

DECK = builtin_game().deck


def _run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["table", *map(str, arguments)])
    return done.exit_code, done.output


def test_a_table_is_built_exported_and_imported_whole(tmp_path: Path) -> None:
    first, again, exported = tmp_path / "a.sqlite", tmp_path / "b.sqlite", tmp_path / "poems.json"
    assert _run("build", first, "--hands", 50) == (0, f"{first}: 50 poems\n")
    assert _run("export", first, exported) == (0, f"{exported}: 50 poems\n")
    assert _run("import", exported, again) == (0, f"{again}: 50 poems\n")
    tables = [Table.open(first), Table.open(again)]
    entries = [list(table.entries(DECK)) for table in tables]
    assert entries[0] == entries[1]
    assert len({pattern_key(entry.hand) for entry in entries[0]}) == 50
    for entry in entries[0]:
        assert check(entry.answer, entry.hand, DECK.catchphrases) == []
        assert next(tables[0].find(entry.hand)) == entry.answer
    for table in tables:
        table.close()


def test_a_stand_deals_what_was_written_and_composed_poems_only_where_nothing_was(tmp_path: Path) -> None:
    ours, other = builtin_game(), replace(builtin_game(), poems=())
    assert build_for_stand(ours, tmp_path / "ours.sqlite", 7, 0) == len(ours.poems)
    assert build_for_stand(other, tmp_path / "other.sqlite", 7, 0) == 7
    table = Table.open(tmp_path / "ours.sqlite")
    assert {entry.source for entry in table.entries(DECK)} == {"hand"}
    table.close()


def test_a_bad_entry_is_named_and_the_former_table_stays(tmp_path: Path) -> None:
    target, exported = tmp_path / "a.sqlite", tmp_path / "poems.json"
    _run("build", target, "--hands", 3)
    before = target.read_bytes()
    _run("export", target, exported)
    entries = json.loads(exported.read_text("utf-8"))
    entries[1]["poem"] += "です。"
    exported.write_text(json.dumps(entries), "utf-8")
    code, output = _run("import", exported, target)
    assert code == 1
    assert entries[1]["pattern_id"][:12] in output
    assert output.count("\n") == 1
    assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sqlite", "poems.json"]


def _coverage(path: Path) -> dict[str, Any]:
    code, output = _run("coverage", path, "--json")
    assert code == 0, output
    return dict(json.loads(output))


def test_poems_by_hand_come_first_then_those_given_then_composed_ones(tmp_path: Path) -> None:
    given, path, by_hand = tmp_path / "given.json", tmp_path / "a.sqlite", len(builtin_game().poems)
    _run("build", path, "--hands", by_hand + 40)
    _run("export", path, given)
    composed = [entry for entry in json.loads(given.read_text("utf-8")) if entry["source"] == "composer"]
    again = [entry for entry in json.loads(given.read_text("utf-8")) if entry["source"] == "hand"][:1]
    theirs = [one | {"source": "gemini"} for one in [*again, *composed[:30]]]
    given.write_text(json.dumps(theirs, ensure_ascii=False), "utf-8")
    assert _run("build", path, "--hands", by_hand + 60, "--with", given, "--seed", 1)[0] == 0
    assert _coverage(path)["by_source"] == {"hand": by_hand, "gemini": 30, "composer": 30}
    _run("build", path, "--hands", 7)
    assert _coverage(path)["by_source"] == {"hand": 7}


def test_coverage_is_what_dealing_comes_to(tmp_path: Path) -> None:
    folder, path = tmp_path / "small", tmp_path / "a.sqlite"
    folder.mkdir()
    cards = [card.as_json() for some in DECK.categories.values() for card in some[:2]][:12]
    for card in cards:
        card["poems"] = card["poems"][:2]
    (folder / "cards.json").write_text(json.dumps(cards, ensure_ascii=False), "utf-8")
    (folder / "catchphrases.json").write_text(json.dumps(DECK.catchphrases, ensure_ascii=False), "utf-8")
    game = load_game(folder)
    assert _run("build", path, "--hands", 150, "--game", folder)[0] == 0
    code, output = _run("coverage", path, "--game", folder, "--json")
    told = json.loads(output)
    assert code == 0
    table, rng, seen = Table.open(path), Random(0), Counter[str]()
    keys = {pattern_key(entry.hand) for entry in table.entries(game.deck)}
    assert len(keys) == 150
    for _ in range(6000):
        hand = deal(game.deck, rng)
        found = next(table.find(hand), None)
        seen["exact" if pattern_key(hand) in keys else "same_cards" if found else "composed"] += 1
    table.close()
    for name, share in told["any"].items():
        assert abs(seen[name] / 6000 - share) < 0.025, name
    assert sum(told["prepared"].values()) == pytest.approx(1)
