import json
from pathlib import Path

from click.testing import CliRunner

from poem.game import builtin_game
from poem.pattern import pattern_key
from poem.rules import check
from poem.table import Table
from poem_build.cli.main import cli

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
