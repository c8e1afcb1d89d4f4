import json
import timeit
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from poem.deck import Banned, Card, Wording, giveaway_terms
from poem.errors import DeckError, GameError
from poem.game import builtin_game, load_files


def test_the_built_in_deck_is_the_one_promised() -> None:
    deck = builtin_game().deck
    assert (len(deck.cards), len(deck.categories), len(deck.catchphrases)) == (89, 9, 110)
    assert {len(card.poems) for card in deck.cards} == {3}
    strengths = Counter(card.strength for card in deck.cards)
    assert (min(strengths), max(strengths)) == (-6, 5)
    assert sum(n for strength, n in strengths.items() if strength < 0) > len(deck.cards) / 2


def test_no_wording_or_catch_copy_gives_a_drawback_away() -> None:
    deck = builtin_game().deck
    told = [
        (card.id, w.poem_text)
        for card in deck.cards
        for w in card.poems
        for t in giveaway_terms(card)
        if t in w.poem_text
    ]
    told += [(card.id, c) for card in deck.cards for t in giveaway_terms(card) for c in deck.catchphrases if t in c]
    assert told == []


def test_every_card_has_terms_of_its_own() -> None:
    assert all(len(giveaway_terms(card)) >= 3 for card in builtin_game().deck.cards)


def test_the_terms_of_an_unknown_card_are_its_text_and_the_runs_in_it() -> None:
    card = Card("x", "交通", "駅まで急な坂道とエスカレーター", -3, (Wording("x-a", "空へ近づく"),))
    assert giveaway_terms(card) == ("駅まで急な坂道とエスカレーター", "坂道", "エスカレーター")


def test_a_known_id_with_another_text_is_an_unknown_card() -> None:
    card = Card("access-01", "交通", "湖畔", -1, (Wording("a", "水の名"),))
    assert giveaway_terms(card) == ("湖畔",)


def _cards() -> list[dict[str, Any]]:
    return [card.as_json() for card in builtin_game().deck.cards]


def _broken(place: int, **change: Any) -> list[dict[str, Any]]:
    cards = _cards()
    cards[place] |= change
    return cards


BAD_CARDS = [
    pytest.param({}, "cards.json: must be a JSON list of cards", id="no list"),
    pytest.param(
        _broken(1, id="access-01"),
        "cards.json: card id 'access-01' is there 2 times; every card id must differ",
        id="id",
    ),
    pytest.param(
        _broken(0, poems=[]),
        "cards.json: card 1 (access-01): poems must hold at least one wording; add one",
        id="poems",
    ),
    pytest.param(
        _broken(0, strength=9),
        "cards.json: card 1 (access-01): strength must be a whole number from -6 to 5, got 9",
        id="strength",
    ),
    pytest.param(
        _broken(0, strength=True),
        "cards.json: card 1 (access-01): strength must be a whole number from -6 to 5, got True",
        id="strength is no number",
    ),
    pytest.param(
        _broken(0, category=" "),
        "cards.json: card 1 (access-01): category must be a non-empty string, got ' '",
        id="empty text",
    ),
    pytest.param(
        _broken(0, id="a\ud800"),
        r"cards.json: card 1: id holds '\ud800', which a line of text cannot carry; remove it",
        id="lone surrogate",
    ),
    pytest.param(
        _broken(0, category="交通\x07"),
        r"cards.json: card 1 (access-01): category holds '\x07', which a line of text cannot carry; remove it",
        id="control character",
    ),
    pytest.param(
        _broken(0, category=[[[[[[[[]]]]]]]]),
        "cards.json: card 1 (access-01): category must be a non-empty string, got [[[[[[[...]]]]]]]",
        id="a list in a list",
    ),
    pytest.param(
        _broken(0, condition_text="駅" * 401),
        "cards.json: card 1 (access-01): condition_text has 401 characters, 400 are allowed; shorten it",
        id="long text",
    ),
    pytest.param(
        _broken(2, id="a" * 201), "cards.json: card 3: id has 201 characters, 200 are allowed; shorten it", id="long id"
    ),
    pytest.param(
        _broken(0, poems=[{"id": f"w{n}", "poem_text": "歌"} for n in range(101)]),
        "cards.json: card 1 (access-01): poems holds 101 wordings, 100 are allowed; remove some",
        id="many wordings",
    ),
    pytest.param(
        [card | {"category": "一つ"} for card in _cards()],
        "cards.json: a hand needs cards of 5 different categories, got 1; add categories",
        id="categories",
    ),
]


@pytest.mark.parametrize(("content", "message"), BAD_CARDS)
def test_a_bad_deck_is_refused_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "cards.json"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(DeckError) as caught:
        load_files(cards=path)
    assert str(caught.value) == message


AS_PEOPLE_WRITE = ['いわゆる"春"', "春\\夏", "𠮷野の春", "🌸の丘", "ﾚｼﾞﾃﾞﾝｽ", "Change the Word."]


def test_a_catch_copy_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "catchphrases.json"
    path.write_text(json.dumps([*builtin_game().deck.catchphrases, *AS_PEOPLE_WRITE, "か\u3099いとう"]), "utf-8")
    game = load_files(catchphrases=path)
    assert game.deck.catchphrases[-7:] == (*AS_PEOPLE_WRITE, "がいとう")
    assert game.warnings == ()


@pytest.mark.parametrize("bad", ["春\n夏", "", " ", 7, None, "春\x07", "\ud800", "長" * 401])
def test_a_catch_copy_that_no_line_can_carry_is_left_out(tmp_path: Path, bad: object) -> None:
    path = tmp_path / "catchphrases.json"
    path.write_text(json.dumps([*builtin_game().deck.catchphrases, bad]), "utf-8")
    game = load_files(catchphrases=path)
    assert game.deck.catchphrases == builtin_game().deck.catchphrases
    (warning,) = game.warnings
    assert warning.startswith("catchphrases.json: entry 111 is left out: ")


def test_a_catch_copy_that_comes_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "catchphrases.json"
    path.write_text(json.dumps([*builtin_game().deck.catchphrases, builtin_game().deck.catchphrases[3]]), "utf-8")
    game = load_files(catchphrases=path)
    assert game.deck.catchphrases == builtin_game().deck.catchphrases
    assert game.warnings == ("catchphrases.json: catch-copies that come twice count once (1 times)",)


def test_nineteen_usable_catch_copies_are_too_few(tmp_path: Path) -> None:
    path = tmp_path / "catchphrases.json"
    path.write_text(json.dumps([*builtin_game().deck.catchphrases[:19], "", "\n"]), "utf-8")
    with pytest.raises(DeckError, match=r"catchphrases\.json: 19 usable catch-copies, 20 are needed; add some"):
        load_files(catchphrases=path)


def test_unknown_keys_are_ignored_with_one_warning(tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    cards = _broken(2, colour="赤", poems=[{"id": "p", "poem_text": "丘", "author": "x"}])
    path.write_text(json.dumps(cards), "utf-8")
    game = load_files(cards=path)
    (warning,) = game.warnings
    assert warning == "cards.json: keys that the game does not have are ignored: author, colour (2 times)"


def test_white_space_of_any_kind_is_one_blank(tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    path.write_text(json.dumps(_broken(0, condition_text=" 線路\r\n の脇\u2028 ")), "utf-8")
    assert load_files(cards=path).deck.cards[0].condition_text == "線路 の脇"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_understood(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "cards.json"
    text = json.dumps(_cards(), ensure_ascii=False, indent=1).replace("\n", "\r\n")
    path.write_bytes(text.encode(encoding))
    assert load_files(cards=path).deck == builtin_game().deck


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1,\n2", "line 2"),
        (b"\xff", "byte 0 is not UTF-8; save the file as UTF-8"),
        (b"[" * 100_000, r"cards\.json: maximum recursion depth exceeded.*; the file must be JSON"),
        (b"9" * 5000, r"cards\.json: Exceeds the limit.*; the file must be JSON"),
    ],
)
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "cards.json"
    path.write_bytes(content)
    with pytest.raises(GameError, match=message):
        load_files(cards=path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GameError, match=r"nowhere\.json: No such file or directory"):
        load_files(cards=tmp_path / "nowhere.json")


def test_a_deck_survives_being_written_and_read(tmp_path: Path) -> None:
    deck = builtin_game().deck
    (tmp_path / "a.json").write_text(json.dumps(_cards()), "utf-8")
    (tmp_path / "b.json").write_text(json.dumps(deck.catchphrases), "utf-8")
    assert load_files(tmp_path / "a.json", tmp_path / "b.json").deck == deck


def test_hundreds_of_banned_texts_are_found_as_one_by_one_and_cost_little() -> None:
    """As many as five hostile cards bring: 133 runs of kanji each, and a text of one character."""
    rng = Random(3)
    kanji = [chr(code) for code in range(0x4E00, 0x4E00 + 300)]
    terms = ["".join(rng.choices(kanji, k=rng.choice((2, 2, 3)))) for _ in range(5 * 133)] + ["巣"]
    texts = ["".join(rng.choices(kanji, k=40)) for _ in range(300)] + ["", "水", "巣", "鳥の巣", "巣箱"]
    few, many = Banned(terms[-20:]), Banned(terms)
    assert [many.within(text) for text in texts] == [any(term in text for term in terms) for text in texts]
    assert [few.within(text) for text in texts] == [any(term in text for term in terms[-20:]) for text in texts]
    clean = "".join(chr(code) for code in range(0x6000, 0x6000 + 60))

    def cost(look: Callable[[], object]) -> float:
        return min(timeit.repeat(look, number=50, repeat=7))

    assert cost(lambda: many.within(clean)) * 2 < cost(lambda: any(term in clean for term in terms))
