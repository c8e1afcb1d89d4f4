import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poem.composer import compose
from poem.deck import Card, Wording
from poem.errors import CompositionError
from poem.game import Game, builtin_game, load_game
from poem.hand import Hand, Pair, deal, draw_candidates
from poem.rules import check
from poem.sentences import BELONGS, BREAKS, Frame, Sentence
from poem.shape import paragraphs, sentences

GAME = builtin_game()
DECK = GAME.deck
REAL_GAME = Path(__file__).parents[3] / "shared" / "data" / "game"
CONTRADICTIONS = [
    (re.compile("北向き|日が差さない|半地下"), re.compile("朝日|陽")),
    (re.compile("洪水|浸水|天井川|谷を埋め|河川敷"), re.compile("この丘|高台")),
]


@dataclass(frozen=True)
class Reading:
    """What was seen in many poems, each of which was checked: shares of them."""

    worn: str
    wear: float
    """Of the sentence that comes most."""
    denied: float
    """Sun in a home that has none, or a hill where the water comes in."""
    subjects: float
    """The residence, or its site, does what more than two sentences say."""


def read(game: Game, hands: int) -> Reading:
    """Composes for so many dealt hands and reads it all."""
    rng = Random(2026)
    heard: Counter[str] = Counter()
    denied = subjects = 0
    for seed in range(hands):
        hand, candidates = deal(game.deck, rng), draw_candidates(game.deck, rng)
        composition = compose(game, hand, candidates, seed)
        assert check(composition.answer, hand, candidates) == []
        assert not composition.waived
        said = {s for p in paragraphs(composition.answer.poem) for s in sentences(p)}
        heard.update(said)
        conditions = "".join(pair.card.condition_text for pair in hand.pairs)
        denied += any(real.search(conditions) and any(map(false.search, said)) for real, false in CONTRADICTIONS)
        subjects += sum(bool(re.search("(?:邸|住まい|この[地丘家街])は", sentence)) for sentence in said) > 2
    worn, times = heard.most_common(1)[0]
    return Reading(worn, times / hands, denied / hands, subjects / hands)


def test_ten_thousand_dealt_hands_keep_every_rule_and_no_sentence_wears_out() -> None:
    seen = read(GAME, 10_000)
    assert seen.wear <= 0.01, f"{seen.worn} stands in {seen.wear:.2%} of the poems"
    assert seen.denied <= 0.01
    assert seen.subjects <= 0.03


@pytest.mark.skipif(not REAL_GAME.is_dir(), reason="the real game's files are not here")
def test_a_deck_that_nobody_wrote_for_is_answered_as_well() -> None:
    seen = read(load_game(REAL_GAME), 10_000)
    assert seen.wear <= 0.015, f"{seen.worn} stands in {seen.wear:.2%} of the poems"
    assert seen.denied <= 0.015
    assert seen.subjects <= 0.05


def test_any_five_cards_will_do() -> None:
    rng = Random(4)
    for seed in range(3000):
        hand = Hand(tuple(Pair(card, rng.choice(card.poems)) for card in rng.sample(DECK.cards, 5)))
        assert check(compose(GAME, hand, DECK.catchphrases, seed).answer, hand, DECK.catchphrases) == []


def test_five_cards_of_one_category_will_do() -> None:
    for cards in DECK.categories.values():
        for start in range(len(cards) - 4):
            for k in range(3):
                hand = Hand(tuple(Pair(card, card.poems[k]) for card in cards[start : start + 5]))
                assert check(compose(GAME, hand, DECK.catchphrases, 1).answer, hand, DECK.catchphrases) == []


def test_the_same_hand_and_seed_give_the_same_text_in_any_order() -> None:
    hand = deal(DECK, Random(5))
    candidates = draw_candidates(DECK, Random(5))
    turned = Hand(hand.pairs[::-1])
    assert compose(GAME, hand, candidates, 7) == compose(GAME, turned, candidates, 7)
    assert len({compose(GAME, hand, candidates, seed).answer.poem for seed in range(30)}) >= 18


def test_every_card_has_its_sentence() -> None:
    rng = Random(6)
    for seed in range(500):
        hand = deal(DECK, rng)
        poem = compose(GAME, hand, DECK.catchphrases, seed).answer.poem.replace("\n", "")
        for pair in hand.pairs:
            assert any(s.text in poem for s in _spoken_for(pair, hand))


def _spoken_for(pair: Pair, hand: Hand) -> list[Sentence]:
    """What may speak for the pair: its wording's own sentences, and those that it shares with another card."""
    found = [s for own in GAME.sentences.wordings[pair.wording.id].values() for s in own]
    for other in hand.pairs:
        voices = GAME.sentences.fused.get(frozenset((pair.card.id, other.card.id)), {})
        found += [s for shared in voices.values() for s in shared]
    return found


def test_the_title_brings_its_own_lines() -> None:
    rng = Random(7)
    for seed in range(500):
        hand = deal(DECK, rng)
        answer = compose(GAME, hand, draw_candidates(DECK, rng), seed).answer
        assert any(_framed(answer.poem, frame) for frame in GAME.sentences.titles[answer.title].each)


def _framed(poem: str, frame: Frame) -> bool:
    """Whether the poem has the frame's ends, and its turns at the head of a paragraph."""
    heads = zip(paragraphs(poem)[1:], frame.turns, strict=False)
    return (
        poem.startswith(frame.opening.text)
        and poem.endswith(frame.closing.text)
        and all(paragraph.startswith(turn.text) for paragraph, turn in heads)
    )


def _of_lines(*texts: str) -> Game:
    """The game, whose every title has but this frame."""
    opening, *turns, closing = map(Sentence, texts)
    each = (Frame(opening, tuple(turns), closing),)
    titles = {title: replace(frames, each=each) for title, frames in GAME.sentences.titles.items()}
    return replace(GAME, sentences=replace(GAME.sentences, titles=titles))


LONG = (
    "残る一枚は木でできている。手を置けば、邸は夜ごと私の側から静かにひらき、街の声も街の灯も、門の外に眠らせておく。"
)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("街は、扉の手前で終わる。", "残る一枚は木でできている。手を置けば、邸は私の側からひらく。"), 2),
        (
            (
                "街は、薄くなる。",
                "一枚、角を曲がる。",
                "一枚、声を脱ぐ。",
                "残る一枚に手を置けば、邸は私の側からひらく。",
            ),
            4,
        ),
        (("街は、薄くなる。", "一枚、角を曲がる。", "一枚、声を脱ぐ。", LONG), 2),
    ],
)
def test_turns_are_said_where_a_frame_has_them_and_there_is_room(lines: tuple[str, ...], said: int) -> None:
    game, rng, heard = _of_lines(*lines), Random(3), Counter[int]()
    for seed in range(100):
        hand, candidates = deal(DECK, rng), draw_candidates(DECK, rng)
        answer = compose(game, hand, candidates, seed).answer
        assert check(answer, hand, candidates) == []
        heard[sum(line in answer.poem for line in lines)] += 1
    assert heard[said] > 80
    assert set(heard) <= {2, len(lines)}


def _answering(poem: str, game: Game, title: str) -> int:
    """How many lines of the title's frame the sentence after them was called for by."""
    said = [s for paragraph in paragraphs(poem) for s in sentences(paragraph)]
    frame = next(frame for frame in game.sentences.titles[title].each if _framed(poem, frame))
    after = pairwise(said)
    lines = [line.text for line in frame.lines[:-1]]
    return sum(frame.calls.get(b, 0) >> lines.index(a) & 1 for a, b in after if a in lines)


def test_lines_are_answered_by_what_they_call_for() -> None:
    """About half of three; by chance one of eight."""
    rng, answered = Random(8), 0
    for seed in range(500):
        hand, candidates = deal(DECK, rng), draw_candidates(DECK, rng)
        answer = compose(GAME, hand, candidates, seed).answer
        answered += _answering(answer.poem, GAME, answer.title)
    assert answered >= 1.3 * 500


def test_a_title_whose_image_the_cards_break_is_not_taken() -> None:
    titles = {
        title: replace(frames, thread="dusk", each=(replace(frames.each[0], calls={}),))
        for title, frames in GAME.sentences.titles.items()
    }
    hand = deal(DECK, Random(9))
    told = [s.text for pair in hand.pairs for s in GAME.sentences.wordings[pair.wording.id]["dusk"]]
    liked, other = list(titles)[:2]
    titles[liked] = replace(titles[liked], each=(replace(titles[liked].each[0], calls=dict.fromkeys(told, BELONGS)),))
    titles[other] = replace(titles[other], each=(replace(titles[other].each[0], calls=dict.fromkeys(told, BREAKS)),))
    game = replace(GAME, sentences=replace(GAME.sentences, titles=titles, fused={}))
    assert {compose(game, hand, (liked, other), seed).answer.title for seed in range(20)} == {liked}


def test_without_candidates_there_is_no_title() -> None:
    with pytest.raises(CompositionError, match="no title candidates"):
        compose(GAME, deal(DECK, Random(1)), [], 1)


def _foreign(texts: list[str], wordings: list[str]) -> Hand:
    return Hand(
        tuple(
            Pair(Card(f"c{n}", "どこか", text, -1, (Wording(f"w{n}", said),)), Wording(f"w{n}", said))
            for n, (text, said) in enumerate(zip(texts, wordings, strict=True))
        )
    )


JAPANESE = st.text(
    st.sampled_from("のはがをにへと風月花鳥山川海空夢旅人音光影庭窓扉石ラムネオルガンabc1です最高一番。、!"),
    min_size=1,
    max_size=24,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(JAPANESE, min_size=5, max_size=5), st.lists(JAPANESE, min_size=5, max_size=5), st.integers(0, 99))
def test_somebody_elses_deck_is_answered_within_the_rules(texts: list[str], wordings: list[str], seed: int) -> None:
    hand = _foreign(texts, wordings)
    composition = compose(GAME, hand, DECK.catchphrases, seed)
    waived = {"giveaway"} if composition.waived else set()
    assert check(composition.answer, hand, DECK.catchphrases, waived) == []


def test_a_card_of_low_land_keeps_the_others_from_telling_of_a_hill() -> None:
    others = ["築40年超", "駅からバス10分", "学生専用", "墓地が近い"]
    hills = Counter[str]()
    for low in ("浸水想定区域", "外廊下型"):
        hand = _foreign([low, *others], ["光", "時", "声", "道", "門"])
        poems = [compose(GAME, hand, ["静寂の私邸。", "丘の空。"], seed).answer.poem for seed in range(200)]
        hills[low] = sum("この丘" in poem or "高台" in poem for poem in poems)
    assert hills["浸水想定区域"] <= 6
    assert hills["外廊下型"] >= 16


def test_a_term_is_avoided_where_two_sentences_meet() -> None:
    hand = _foreign(["1", "1", "1", "1", "。扉"], ["1", "1", "一", "1", "1"])
    for seed in range(20):
        composition = compose(GAME, hand, DECK.catchphrases, seed)
        assert not composition.waived
        assert check(composition.answer, hand, DECK.catchphrases) == []


def test_a_wording_of_made_up_words_never_shows_in_a_poem() -> None:
    made_up = ["ムネクリタ", "蓬莱郭", "ソルベリウム", "霞玻璃", "ラトメルカ"]
    for seed in range(50):
        poem = compose(GAME, _foreign([f"現実{n}" for n in "甲乙丙丁戊"], made_up), DECK.catchphrases, seed).answer.poem
        assert [word for word in made_up if word in poem] == []


def test_the_giveaway_rule_is_waived_only_when_nothing_avoids_it() -> None:
    assert not compose(GAME, _foreign(["湖畔"] * 5, ["白鳥の別荘"] * 5), DECK.catchphrases, 1).waived
    assert compose(GAME, _foreign(["の", "。", "、", "る", "を"], ["白鳥の別荘"] * 5), DECK.catchphrases, 1).waived


def test_a_deck_from_files_is_played(tmp_path: Path) -> None:
    cards = [card.as_json() | {"id": f"my-{n}", "condition_text": f"現実{n}"} for n, card in enumerate(DECK.cards)]
    (tmp_path / "cards.json").write_text(json.dumps(cards), "utf-8")
    (tmp_path / "catchphrases.json").write_text(json.dumps(DECK.catchphrases), "utf-8")
    game = load_game(tmp_path)
    rng = Random(9)
    for seed in range(100):
        hand = deal(game.deck, rng)
        assert check(compose(game, hand, game.deck.catchphrases, seed).answer, hand, game.deck.catchphrases) == []


def test_a_game_s_own_sentences_that_break_rules_reach_no_poem(tmp_path: Path) -> None:
    (tmp_path / "cards.json").write_text(json.dumps([card.as_json() for card in DECK.cards]), "utf-8")
    (tmp_path / "catchphrases.json").write_text(json.dumps(DECK.catchphrases), "utf-8")
    rude = "あなたに最高の朝をお届けします。"
    wordings = {w.id: {"dusk": [{"at": 1, "text": rude}]} for card in DECK.cards for w in card.poems}
    titles = {title: {"thread": "dusk", "frames": [[rude, rude]]} for title in DECK.catchphrases}
    for name, content in {"wordings/all": wordings, "titles": titles}.items():
        path = tmp_path / "sentences" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")
    game = load_game(tmp_path)
    rng = Random(9)
    for seed in range(60):
        hand = deal(game.deck, rng)
        assert check(compose(game, hand, game.deck.catchphrases, seed).answer, hand, game.deck.catchphrases) == []


def _of_the_night() -> Game:
    """The game on a thread of its own."""
    own = GAME.sentences
    titles = {title: replace(ends, thread="night") for title, ends in own.titles.items() if ends.thread == "dusk"}
    wordings = {wording: {"night": voices["dusk"]} for wording, voices in own.wordings.items()}
    return replace(GAME, sentences=replace(own, titles=titles, wordings=wordings, fused={}))


def test_a_game_may_have_a_thread_of_its_own() -> None:
    game = _of_the_night()
    answer = compose(game, deal(DECK, Random(1)), tuple(game.sentences.titles), 1).answer
    told = {sentence.text for voices in game.sentences.wordings.values() for sentence in voices["night"]}
    assert len(told & {s for p in paragraphs(answer.poem) for s in sentences(p)}) == 5


def test_somebody_elses_cards_are_told_on_a_thread_of_the_game_s_own() -> None:
    game = _of_the_night()
    hand = _foreign(["湖畔"] * 5, ["白鳥の別荘"] * 5)
    titles = tuple(game.sentences.titles)
    assert check(compose(game, hand, titles, 1).answer, hand, titles) == []
