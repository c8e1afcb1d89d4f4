import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from poem.deck import Deck
from poem.errors import GameError
from poem.game import builtin_game
from poem.pattern import pattern_key
from poem_build.cli.main import cli
from poem_build.data.groups import GROUPS, groups_of
from poem_build.data.hands import SPLITS, split_of
from poem_build.data.phases import sizes
from poem_build.data.sampler import Sampler, check_quotas, coverage, kind_of
from poem_build.errors import DatasetError
from poem_build.recipe.teaching import Quotas
from poem_build.teacher.protocol import Play

BUILT_IN = Path(__file__).parents[3] / "game" / "poem" / "builtin"
DECK = builtin_game().deck
MAP, _ = groups_of(DECK, None)
QUOTAS = Quotas()


def _plays(count: int, split: str = "train", seed: int = 0) -> list[Play]:
    return list(islice(Sampler(DECK, MAP, QUOTAS, seed).plays(split), count))  # type: ignore[arg-type]


def test_a_larger_phase_begins_with_the_smaller_one() -> None:
    assert _plays(60)[:40] == _plays(40)
    assert _plays(10, seed=1) != _plays(10)


@pytest.mark.parametrize("split", SPLITS)
def test_every_hand_is_dealt_as_the_game_deals_of_its_split_and_new(split: str) -> None:
    plays = _plays(80, split)
    assert {split_of(play.hand) for play in plays} == {split}
    assert all(len({pair.card.category for pair in play.hand.pairs}) == 5 for play in plays)
    assert len({pattern_key(play.hand) for play in plays}) == 80
    assert all(len(set(play.candidates)) == 20 for play in plays)


@pytest.mark.parametrize(("hands", "least"), [(60, 1), (100, 1)])
def test_every_wording_comes_as_often_as_it_must_in_all_splits_together(hands: int, least: int) -> None:
    quotas = Quotas(least=least)
    check_quotas(DECK, quotas, hands)
    sampler = Sampler(DECK, MAP, quotas, 0)
    plays = [play for split, size in sizes(hands).items() for play in islice(sampler.plays(split), size)]
    told = coverage(plays, DECK, MAP, quotas)
    assert (told["seldom"], told["least"]["wording"]) == ({}, least)
    few = coverage(plays[:10], DECK, MAP, quotas)["seldom"]
    assert few.keys() == {"cards", "wordings"}
    assert few["wordings"].endswith(" of 267")


def test_a_splits_hands_are_the_same_whichever_split_is_taken_first() -> None:
    first, other = Sampler(DECK, MAP, QUOTAS, 0), Sampler(DECK, MAP, QUOTAS, 0)
    train = list(islice(first.plays("train"), 20))
    valid = list(islice(other.plays("valid"), 4))
    assert list(islice(first.plays("valid"), 4)) == valid
    assert list(islice(other.plays("train"), 20)) == train


def test_the_quotas_are_met_as_nearly_as_the_deck_allows() -> None:
    sampler = Sampler(DECK, MAP, QUOTAS, 0, [None])
    plays = list(islice(sampler.plays(), 300))
    told = coverage(plays, DECK, MAP, QUOTAS)
    for name in ("concentrated", "balanced", "extreme", "mild", "middling", "severe"):
        assert abs(told["shares"][name]["difference"]) < 0.05, name
    assert told["least"]["wording"] >= 1
    assert told["least"]["catchphrase"] >= 300 * 20 // len(DECK.catchphrases) - 1
    kinds = Counter(kind_of(play.hand, MAP) for play in plays)
    assert kinds == {"concentrated": 30, "balanced": 180, "extreme": 90}


def test_what_the_deck_cannot_give_is_said() -> None:
    apart = dict(zip(DECK.categories, [*GROUPS, *GROUPS], strict=False))
    found = coverage(_plays(5), DECK, apart, QUOTAS)
    assert found["impossible"] == ["concentrated: no group has 3 categories; give it more in groups.json"]
    together = dict.fromkeys(DECK.categories, "access")
    assert len(coverage(_plays(5), DECK, together, QUOTAS)["impossible"]) == 4  # type: ignore[arg-type]


def test_a_deck_that_has_dealt_all_it_has_ends() -> None:
    cards = [replace(cards[0], poems=cards[0].poems[:2]) for cards in list(DECK.categories.values())[:5]]
    small = Deck(tuple(cards), DECK.catchphrases)
    found = [pattern_key(p.hand) for p in Sampler(small, groups_of(small, None)[0], QUOTAS, 0, [None]).plays()]
    assert len(found) == len(set(found)) == 2**5


def test_a_deck_of_few_hands_is_dealt_to_its_last_one_and_what_it_lacks_is_told(tmp_path: Path) -> None:
    first = {cards[0].id for cards in list(DECK.categories.values())[:5]}
    folder = tmp_path / "few"
    folder.mkdir()
    cards = json.loads((BUILT_IN / "cards.json").read_text("utf-8"))
    (folder / "cards.json").write_text(json.dumps([card for card in cards if card["id"] in first]), "utf-8")
    shutil.copy(BUILT_IN / "catchphrases.json", folder)
    command = ["teacher", "run", "--teacher", "composer", "--game", str(folder), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, [*command, "--hands", "260", "--force"])
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "out" / "teacher" / "poems" / "teacher.json").read_text("utf-8"))
    assert told["coverage"]["groups"]["採光"] == "surroundings (guessed)"
    assert "採光: surroundings (guessed), " in done.output
    fewer = told["coverage"]["fewer"]
    assert told["coverage"]["hands"] + sum(fewer.values()) == 260
    assert told["coverage"]["hands"] + told["unwritten"] <= 3**5
    for split, many in fewer.items():
        assert f"\n{many} hands fewer: the deck has no more for {split}\n" in done.output


def test_a_deck_without_a_hand_for_a_split_is_refused() -> None:
    cards = [replace(cards[0], poems=cards[0].poems[:1]) for cards in list(DECK.categories.values())[:5]]
    small = Deck(tuple(cards), DECK.catchphrases)
    only = next(Sampler(small, groups_of(small, None)[0], QUOTAS, 0, [None]).plays())
    lacking = "test" if split_of(only.hand) == "train" else "train"
    with pytest.raises(DatasetError, match=f"the deck deals no hand that is for {lacking}"):
        next(Sampler(small, groups_of(small, None)[0], QUOTAS, 0).plays(lacking))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"mild": 0.5},
            r"must be 1, got 1\.20; the nearest that do are mild = 0\.42, middling = 0\.33, severe = 0\.25",
        ),
        ({"concentrated": 0.0}, r"the nearest that do are concentrated = 0\.00, balanced = 0\.67, extreme = 0\.33"),
        (
            dict.fromkeys(("mild", "middling", "severe"), 0.5),
            r"got 1\.50; the nearest that do are mild = 0\.33, middling = 0\.33, severe = 0\.34",
        ),
        (
            dict.fromkeys(("concentrated", "balanced", "extreme"), 0.0),
            r"the nearest that do are concentrated = 0\.33, balanced = 0\.33, extreme = 0\.34",
        ),
        (
            {"mild": 0.0, "middling": 0.0, "severe": 1.0, "concentrated": 0.0, "balanced": 1.0, "extreme": 0.0},
            r"severe: one of .* balanced = 1\.00 it can be 0\.20 at the most, got 1\.00; lower one of the two",
        ),
        ({"group": 0.3}, r"a fifth of the cards each, got 0\.3; 0\.2 can be met"),
    ],
)
def test_quotas_that_contradict_each_other_are_refused_with_the_nearest(given: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Quotas.model_validate(given)


def test_hands_too_few_to_show_everything_so_often_are_refused_with_the_nearest() -> None:
    with pytest.raises(DatasetError, match=r"quotas\.least: 4 times .* takes 214 hands, there are 100; .* = 1$"):
        check_quotas(DECK, Quotas(least=4), 100)
    check_quotas(DECK, Quotas(least=1), 100)
    cards = [replace(card, category=card.category if n % 2 else "海") for n, card in enumerate(DECK.cards)]
    alike = Deck(tuple(cards), DECK.catchphrases)
    most = max(sum(len(card.poems) for card in cards) for cards in alike.categories.values())
    assert most > 2 * 267 // 5
    with pytest.raises(DatasetError, match=f"takes {most} hands, there are {most - 1}; .* = 0$"):
        check_quotas(alike, Quotas(least=1), most - 1)


def test_a_games_own_map_is_taken_and_the_rest_is_guessed(tmp_path: Path) -> None:
    first = next(iter(DECK.categories))
    (tmp_path / "groups.json").write_text(f'{{"{first}": "other"}}', "utf-8")
    found, guessed = groups_of(DECK, tmp_path)
    assert found[first] == "other"
    assert first not in guessed
    assert set(found) == set(DECK.categories)
    assert set(found.values()) <= set(GROUPS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must be a JSON object of groups"),
        ('{"海": "other"}', "海: the deck has no such category"),
        (f'{{"{next(iter(DECK.categories))}": "sea"}}', "'sea' is no group; groups are access, building"),
    ],
)
def test_a_map_with_a_fault_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "groups.json").write_text(text, "utf-8")
    with pytest.raises(GameError, match=message):
        groups_of(DECK, tmp_path)
