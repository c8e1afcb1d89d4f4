import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from poem.store import store
from poem_build.cli.main import cli

BUILT_IN = Path(__file__).parents[3] / "game" / "poem" / "builtin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cards.json", "catchphrases.json"):
        (tmp_path / name).write_bytes((BUILT_IN / name).read_bytes())
    return tmp_path


def _values(folder: Path) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["values", "--game", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.output))


def test_what_wordings_are_worth_is_drafted_and_nearly_as_a_person_has_it(folder: Path) -> None:
    told = _values(folder)
    drafted = json.loads((folder / "values.json").read_text("utf-8"))
    assert told["kept"] == 0
    assert told["by_words"] + told["by_lemmas"] == len(drafted)
    assert len(drafted) + len(told["unknown"]) == 267
    assert all(1 <= len(values) <= 2 and set(values) <= store().values.keys() for values in drafted.values())
    by_hand = json.loads((BUILT_IN / "values.json").read_text("utf-8"))
    agree = sum(bool(set(values) & set(by_hand[key])) for key, values in drafted.items())
    assert agree > 0.4 * len(drafted)  # by chance: one in ten


def test_what_a_person_wrote_is_never_replaced(folder: Path) -> None:
    mine = {"access-01-a": ["遊びと芸術"], "access-01-b": ["水の記憶", "大地の力"]}
    (folder / "values.json").write_text(json.dumps(mine, ensure_ascii=False), "utf-8")
    assert _values(folder)["kept"] == 2
    drafted = json.loads((folder / "values.json").read_text("utf-8"))
    assert {key: drafted[key] for key in mine} == mine
    before = (folder / "values.json").read_bytes()
    _values(folder)
    assert (folder / "values.json").read_bytes() == before


def test_a_wording_is_known_by_the_lemma_of_a_values_word(folder: Path) -> None:
    cards = json.loads((folder / "cards.json").read_text("utf-8"))
    cards[0] |= {"condition_text": "ん"}
    cards[0]["poems"][0]["poem_text"] = "すべてが静まりかえり"
    (folder / "cards.json").write_text(json.dumps(cards, ensure_ascii=False), "utf-8")
    _values(folder)
    assert "静けさ" in json.loads((folder / "values.json").read_text("utf-8"))[cards[0]["poems"][0]["id"]]
