"""A folder is a game, anybody's and ours alike."""

import json
import shutil
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from poem.errors import GameError
from poem.game import BUILT_IN, builtin_game, load_files, load_game
from poem.prompt import SAMPLE_HAND, SAMPLE_TITLES, default_instructions, render_prompt
from poem.store import store

TITLE, SECOND = builtin_game().deck.catchphrases[:2]
REAL_GAME = Path(__file__).parents[3] / "shared" / "data" / "game"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The least that a game is."""
    game = tmp_path / "My Game 2"
    game.mkdir()
    deck = builtin_game().deck
    (game / "cards.json").write_text(json.dumps([card.as_json() for card in deck.cards]), "utf-8")
    (game / "catchphrases.json").write_text(json.dumps(deck.catchphrases), "utf-8")
    return game


def test_the_two_files_are_enough(folder: Path) -> None:
    game = load_game(folder)
    assert game.name == "my-game-2"
    assert game.deck == builtin_game().deck
    assert game.instructions == default_instructions()
    assert (game.poems, game.values, game.warnings) == ((), {}, ())


def test_the_built_in_game_is_such_a_folder() -> None:
    folder = Path(str(builtin_game.__wrapped__.__code__.co_filename)).parent / "builtin"
    assert builtin_game().name == BUILT_IN
    as_anybodys = load_game(folder)
    assert (as_anybodys.digest, as_anybodys.sentences) == (builtin_game().digest, builtin_game().sentences)
    assert as_anybodys.warnings == ()


def test_instructions_of_its_own_change_the_prompt_and_its_version(folder: Path) -> None:
    (folder / "system.txt").write_bytes("詩を書く。\r\n短く。\r\n".encode())
    game = load_game(folder)
    assert game.instructions == "詩を書く。\n短く。"
    assert render_prompt(game.instructions, SAMPLE_HAND, SAMPLE_TITLES).system == "詩を書く。\n短く。"
    assert game.prompt_version != builtin_game().prompt_version


def test_an_empty_system_txt_is_refused(folder: Path) -> None:
    (folder / "system.txt").write_text("\n", "utf-8")
    with pytest.raises(GameError, match=r"system\.txt: is empty; write the instructions, or remove the file"):
        load_game(folder)


def test_the_digest_follows_what_the_files_say_and_not_how_they_are_written(folder: Path) -> None:
    before = load_game(folder).digest
    cards = json.loads((folder / "cards.json").read_text("utf-8"))
    (folder / "cards.json").write_text(json.dumps(cards, indent=4, ensure_ascii=False), "utf-8-sig")
    assert load_game(folder).digest == before
    for name, content in {
        "values.json": {"access-01-a": ["静けさ"]},
        "terms.json": {"access-01": ["駅"]},
        "sentences/titles.json": {},
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content), "utf-8")
        after = load_game(folder).digest
        assert after != before
        before = after


def test_the_digest_follows_each_field_of_a_poem_by_hand(folder: Path) -> None:
    digests = set()
    other = builtin_game().poems[1].answer
    for change in ({}, {"title": other.title}, {"poem": other.poem}, {"held_out": True}):
        (folder / "poems.jsonl").write_text(_line(**change), "utf-8")
        digests.add(load_game(folder).digest)
    assert len(digests) == 4


def _line(**change: Any) -> str:
    poem = builtin_game().poems[0]
    entry = {"pairs": poem.hand.ids(), "title": poem.answer.title, "poem": poem.answer.poem, "held_out": False}
    return json.dumps(entry | change, ensure_ascii=False)


@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_was_written_for_a_deck_is_in_nfc_as_the_deck_is(folder: Path, ascii_only: bool) -> None:
    deck = builtin_game().deck
    title = next(one for one in deck.catchphrases if unicodedata.normalize("NFD", one) != one)
    told = []
    for form in ("NFC", "NFD"):
        for name, content in {
            "terms.json": {"access-01": ["バス"]},
            "values.json": {"access-01-a": ["深い影と夜"]},
            "sentences/titles.json": {title: {"frames": [["丘がある。", "庭がある。"]]}},
            "sentences/wordings/x.json": {"access-01-a": {"ガ": [{"at": 1, "text": "道がひらく。"}]}},
            "sentences/fused.json": [{"cards": ["access-01", "air-01"], "at": {"ガ": 1}, "text": "道がつづく。"}],
            "sentences/calls.json": {},
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            text = unicodedata.normalize(form, json.dumps(content, ensure_ascii=False))
            (folder / name).write_text(json.dumps(json.loads(text), ensure_ascii=ascii_only), "utf-8")
        told.append(load_game(folder))
    assert told[0] == told[1]
    assert told[1].deck.by_id["access-01"].terms == ("バス",)
    assert told[1].sentences.titles.keys() == {title}


def _write(folder: Path, sentences: Mapping[str, object]) -> None:
    for name, content in sentences.items():
        path = folder / "sentences" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")


def test_names_that_a_mac_has_decomposed_are_the_same_game(folder: Path) -> None:
    """As a copy by way of one brings them to a machine that tells both spellings apart."""
    told = []
    for form in ("NFC", "NFD"):
        shutil.rmtree(folder / "sentences", ignore_errors=True)
        (folder / "sentences" / "wordings").mkdir(parents=True)
        for n, name in enumerate(("ガ.json", "か.json", "ギ.json")):
            path = folder / "sentences" / "wordings" / unicodedata.normalize(form, name)
            path.write_text(json.dumps({f"access-01-{'abc'[n]}": {"光": []}}), "utf-8")
        told.append(load_game(folder))
    assert told[0].digest == told[1].digest
    assert told[0].sentences == told[1].sentences


def test_poems_by_hand_are_read_and_bad_ones_left_out_by_line(folder: Path) -> None:
    lines = [_line(), "", _line(), _line(title="ない題"), _line(poem="短い。"), _line(pairs=[["no", "card"]] * 5)]
    (folder / "poems.jsonl").write_text("\r\n".join(lines), "utf-8")
    game = load_game(folder)
    assert [poem.answer for poem in game.poems] == [builtin_game().poems[0].answer]
    left_out = [warning.split(": ")[1] for warning in game.warnings]
    assert left_out == [f"line {n} is left out" for n in (3, 4, 5, 6)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("poems.jsonl", "{", r"poems\.jsonl: line 1: .*; give one object of pairs, title, poem and held_out a line"),
        (
            "poems.jsonl",
            "[" * 100_000,
            r"poems\.jsonl: line 1: RecursionError.*; give one object of pairs, title, poem and held_out a line",
        ),
        ("values.json", "[]", r"values\.json: must be a JSON object of lists by id"),
        ("values.json", '{"access-01-a": "静けさ"}', r"values\.json: access-01-a: must be a list of non-empty strings"),
        ("terms.json", "{", r"terms\.json: line 1: .*; the file must be JSON"),
        (
            "sentences/titles.json",
            '{"題": {"thread": "dusk", "frames": []}}',
            r"titles\.json: 題: must be an object of thread and frames.*; correct or remove the entry",
        ),
        (
            "sentences/titles.json",
            '{"題": {"thread": "dusk", "frames": [["丘。", "門。", "庭。"]]}}',
            r"titles\.json: 題: a frame is \[opening, turn, turn, closing\] or .*; correct or remove the entry",
        ),
        (
            "sentences/titles.json",
            '{"題": {"thread": 3, "frames": [["丘。", "庭。"]]}}',
            r"titles\.json: 題: thread must be text or left out, got 3; correct or remove the entry",
        ),
        (
            "sentences/wordings/x.json",
            '{"access-01-a": {"dusk": [{"at": 7, "text": "丘。"}]}}',
            r"x\.json: access-01-a: must be an object of at \(0 to 4\) and text",
        ),
        (
            "sentences/wordings/x.json",
            '{"access-01-a": {"dusk": [{"at": 1, "text": "丘"}]}}',
            r"x\.json: access-01-a: a sentence must end with 「。」",
        ),
        ("sentences/fused.json", "null", r"fused\.json: must be a JSON list"),
        ("sentences/fused.json", "7", r"fused\.json: must be a JSON list"),
        ("sentences/fused.json", '[{"cards": ["a", "b"]}]', r"fused\.json: entry 1: .*give cards, at"),
        (
            "sentences/calls.json",
            '{"題": []}',
            r"calls\.json: 題: is no title with frames on a thread; correct or remove the entry",
        ),
    ],
)
def test_a_bad_file_is_refused_by_name_and_entry(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content, "utf-8")
    with pytest.raises(GameError, match=message):
        load_game(folder)


HALF = json.dumps("春\ud800")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("terms.json", f'{{"access-01": [{HALF}]}}'),
        ("values.json", f'{{{HALF}: ["静けさ"]}}'),
        ("sentences/titles.json", f'{{"題": {{"thread": {HALF}, "frames": [["丘。", "庭。"]]}}}}'),
        ("sentences/wordings/x.json", f'{{"access-01-a": {{{HALF}: []}}}}'),
        ("sentences/fused.json", f'[{{"cards": ["access-01", "air-01"], "at": {{}}, "note": {HALF}}}]'),
        ("sentences/notes/mine.json", HALF),
    ],
)
def test_half_a_character_is_refused_by_the_file_s_name(folder: Path, name: str, content: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content, "utf-8")
    with pytest.raises(GameError, match=rf"{name}: '\\ud800' is half a character; write all of it, or remove it"):
        load_game(folder)


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([], r"calls\.json: 題: must be a list of calls, one for each of its 1 frames; correct or remove the entry"),
        ([{"opening": ["access-01-a"]}], None),
        ([{"opening": ["other"]}], r"calls\.json: 題: 'other' says nothing on the thread 'dusk'; correct"),
        ([{"second": ["a+b"]}], r"calls\.json: 題: 'a\+b' says nothing on the thread 'dusk'; correct"),
        ([{"closing": ["w"]}], r"calls\.json: 題: a frame's calls are an object of lists: opening, first, second, be"),
        ([{"opening": "w"}], r"calls\.json: 題: a frame's calls are an object of lists: opening, first"),
        ([["w"]], r"calls\.json: 題: a frame's calls are an object of lists"),
        ("w", r"calls\.json: 題: must be a list of calls"),
    ],
)
def test_what_lines_call_for_is_read_by_the_ids_of_wordings(folder: Path, calls: object, message: str | None) -> None:
    written = {
        "titles.json": {"題": {"thread": "dusk", "frames": [["丘。", "門。", "庭。", "灯。"]]}},
        "wordings/x.json": {"access-01-a": {"dusk": [{"at": 1, "text": "道がひらく。"}]}},
        "calls.json": {"題": calls},
    }
    (folder / "catchphrases.json").write_text(json.dumps([*builtin_game().deck.catchphrases, "題"]), "utf-8")
    _write(folder, written)
    if message:
        with pytest.raises(GameError, match=message):
            load_game(folder)
    else:
        assert load_game(folder).sentences.titles["題"].each[0].calls == {"道がひらく。": 1}


def test_ids_that_the_deck_does_not_have_are_left_out(folder: Path) -> None:
    (folder / "values.json").write_text('{"access-01-a": ["静けさ"], "gone-a": ["静けさ"]}', "utf-8")
    game = load_game(folder)
    assert game.values == {"access-01-a": ("静けさ",)}
    assert game.warnings == ("values.json: ids that the deck does not have are left out: gone-a",)


def test_sentences_for_what_the_deck_does_not_have_are_left_out(folder: Path) -> None:
    said = {"dusk": [{"at": 1, "text": "道がひらく。"}]}
    frames = {"thread": "dusk", "frames": [["丘がある。", "庭がある。"]]}
    _write(
        folder,
        {
            "titles.json": {TITLE: frames, "ない題": frames},
            "wordings/x.json": {"access-01-a": said, "access-1-a": said},
            "fused.json": [
                {"cards": ["access-01", "air-01"], "at": {"dusk": 1}, "text": "道がつづく。"},
                {"cards": ["access-01", "air-1"], "at": {"dusk": 1}, "text": "道がまがる。"},
            ],
            "calls.json": {"ない題": [{"opening": ["access-1-a", "access-01+air-1"]}]},
        },
    )
    game = load_game(folder)
    assert {sentence.text for sentence in game.sentences.all()} == {
        "丘がある。",
        "庭がある。",
        "道がひらく。",
        "道がつづく。",
    }
    assert list(game.sentences.fused) == [frozenset(("access-01", "air-01"))]
    assert game.warnings == (
        "sentences/titles.json: titles that the deck does not have are left out: ない題",
        "sentences/wordings/x.json: ids that the deck does not have are left out: access-1-a",
        "sentences/fused.json: ids that the deck does not have are left out: air-1",
    )


def test_sentences_that_break_a_rule_are_left_out_and_frames_with_them(folder: Path) -> None:
    polite, open_, latin = "あなたに最高の朝をお届けします。", f"{'長' * 60}。", "Morningがひらく。"
    frame = ["丘がある。", "庭がある。"]
    said = {"access-01-a": {"dusk": [{"at": 1, "text": text} for text in (polite, "道がひらく。", "道が\nつづく。")]}}
    _write(
        folder,
        {
            "titles.json": {TITLE: {"frames": [frame, ["丘がある。", latin]]}, SECOND: {"frames": [[polite, polite]]}},
            "wordings/x.json": said,
            "fused.json": [{"cards": ["access-01", "air-01"], "at": {"dusk": 1, "way": 2}, "text": open_}],
            "calls.json": {},
        },
    )
    game = load_game(folder)
    assert [s.text for s in game.sentences.all()] == [*frame, "道がひらく。"]
    assert game.sentences.titles.keys() == {TITLE, SECOND}  # `teacher run --what words` asks for what is not there
    told = (
        f"titles.json: {TITLE}: 'Morningがひらく。' breaks a rule (characters: 'M' (U+004D)); its frame is left out",
        f"titles.json: {SECOND}: '{polite}' breaks a rule (polite: します); its frame is left out",
        f"wordings/x.json: access-01-a: '{polite}' breaks a rule (polite: します); it is left out",
        "wordings/x.json: access-01-a: '道が\\nつづく。' breaks a rule (paragraphs: a line break); it is left out",
        f"fused.json: access-01+air-01: '{'長' * 12}...{'長' * 12}。' breaks a rule "
        "(sentence: a sentence of 61 characters, over 60); it is left out",
    )
    assert game.warnings == tuple(f"sentences/{warning}" for warning in told)


def test_values_that_the_composer_does_not_know_are_left_out(folder: Path) -> None:
    values = {"access-01-a": ["しずけさ", "水の記憶"], "access-01-b": ["しずけさ", "光"], "air-01-a": ["静けさ"]}
    (folder / "values.json").write_text(json.dumps(values), "utf-8")
    game = load_game(folder)
    assert game.values == {"access-01-a": ("水の記憶",), "access-01-b": (), "air-01-a": ("静けさ",)}
    (warning,) = game.warnings
    known = "、".join(store().values)
    told = "しずけさ (access-01-a, access-01-b); 光 (access-01-b)"
    assert warning == f"values.json: values that the composer does not know are left out: {told}; it knows {known}"


def test_a_folder_that_is_none_or_lacks_a_file_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(GameError, match="nowhere: no such folder; give one that holds"):
        load_game(tmp_path / "nowhere")
    (folder / "catchphrases.json").unlink()
    with pytest.raises(GameError, match=r"catchphrases\.json: No such file"):
        load_game(folder)


def test_a_name_without_letters_is_the_deck_s(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "うちのゲーム"
    shutil.copytree(folder, other)
    assert load_game(other).name == f"game-{load_game(other).deck.digest[:8]}"


def test_what_was_written_for_our_cards_stays_for_those_that_are_unchanged(tmp_path: Path) -> None:
    ours = builtin_game()
    cards = [card.as_json() for card in ours.deck.cards]
    cards[0] |= {"condition_text": "湖畔"}
    (tmp_path / "cards.json").write_text(json.dumps(cards), "utf-8")
    game = load_files(cards=tmp_path / "cards.json")
    changed, kept = ours.deck.cards[0], ours.deck.cards[1]
    assert game.deck.by_id[kept.id].terms == kept.terms
    assert game.deck.by_id[changed.id].terms == ()
    assert changed.poems[0].id not in game.sentences.wordings
    assert kept.poems[0].id in game.sentences.wordings


@pytest.mark.skipif(not REAL_GAME.is_dir(), reason="the real game's files are not here")
def test_the_real_game_is_taken_as_it_is() -> None:
    game = load_game(REAL_GAME)
    assert (len(game.deck.cards), len(game.deck.catchphrases), game.warnings) == (89, 110, ())
    assert sum('"' in phrase for phrase in game.deck.catchphrases) == 3
